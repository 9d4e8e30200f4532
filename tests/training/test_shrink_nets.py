"""shrink on torch modules: other widths and depths, trained, counted and cut down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from tests.training.test_shrink import shrink_of, table
from trimtab.adapters.models.nets import FULL, Shape, Size, built, scaled
from trimtab.core.model import Sample
from trimtab.training.architecture.front import Point, ranked_by_size
from trimtab.training.architecture.plan import CURRENT, ShrinkPlan
from trimtab.training.selection.plan import CURRENT as OWN

torch = pytest.importorskip("torch")
nn = torch.nn

OWN_NET = """
from torch import nn
def build(inputs, outputs, width=32, depth=2):
    hidden = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), *hidden, nn.Linear(width, outputs))
"""


def image_net() -> object:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 64, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def sizes(module: object) -> list[tuple[int, ...]]:
    return [tuple(one.weight.shape[:2]) for one in module if hasattr(one, "weight") and one.weight.dim() > 1]  # type: ignore[attr-defined]


def test_hidden_layers_are_narrowed_and_both_ends_stay() -> None:
    half = scaled(image_net(), Size(width=0.5))
    assert sizes(half) == [(8, 1), (8, 8), (16, 8 * 64), (10, 16)]
    assert half(torch.zeros(3, 64)).shape == (3, 10)


def test_a_layer_that_gives_as_many_features_as_it_takes_can_go() -> None:
    shallow = scaled(image_net(), Size(depth=0.1))
    assert len(sizes(shallow)) == 3
    assert shallow(torch.zeros(3, 64)).shape == (3, 10)


def test_layers_that_hang_together_in_unknown_ways_are_refused() -> None:
    with pytest.raises(ValueError, match="give the function a width and a depth"):
        scaled(nn.Sequential(nn.Linear(4, 8), nn.LSTM(8, 8), nn.Linear(8, 2)), Size(width=0.5))
    with pytest.raises(ValueError, match="give the function a width and a depth"):
        scaled(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm((3, 8)), nn.Linear(8, 2)), Size(width=0.5))


class Headed(nn.Module):  # type: ignore[misc, name-defined]
    """Layers in a nested body, and a head beside it."""

    def __init__(self, body: Any, head: Any) -> None:
        super().__init__()
        self.features, self.head = body, head

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).flatten(1))


def shapes(module: object) -> list[tuple[int, ...]]:
    return [tuple(one.shape[:2]) for one in module.parameters() if one.dim() > 1]  # type: ignore[attr-defined]


def test_a_nested_body_is_narrowed_with_its_head() -> None:
    body = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Sequential(nn.Linear(32, 16), nn.LayerNorm(16), nn.ReLU()))
    half = scaled(Headed(body, nn.Linear(16, 3)), Size(width=0.5))
    assert shapes(half) == [(16, 6), (8, 16), (3, 8)]
    assert half(torch.zeros(5, 6)).shape == (5, 3)


def test_a_head_takes_the_places_of_fewer_channels() -> None:
    body = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)
    )
    half = scaled(Headed(body, nn.Linear(16 * 16, 10)), Size(width=0.5))
    assert shapes(half) == [(4, 1), (8, 4), (10, 8 * 16)]
    assert half(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_layers_that_are_not_defined_in_the_order_of_their_use_are_refused() -> None:
    head_first = nn.ModuleDict({"head": nn.Linear(16, 3), "one": nn.Linear(5, 32), "two": nn.Linear(32, 16)})
    shared = nn.Linear(8, 8)
    for module in (head_first, nn.Sequential(nn.Linear(4, 8), shared, nn.ReLU(), shared, nn.Linear(8, 2))):
        with pytest.raises(ValueError, match="give the function a width and a depth"):
            scaled(module, Size(width=0.5))


def test_a_function_is_called_with_shares_of_its_own_sizes() -> None:
    asked = []

    def build(inputs: int, width: int = 40, depth: int = 5) -> object:
        asked.append((inputs, width, depth))
        return nn.Linear(inputs, 1)

    shape = Shape(lambda: 7, 2)
    built(build, shape, FULL)
    built(build, shape, Size(0.25, 0.4))
    assert asked == [(7, 40, 5), (7, 10, 2)]


def test_a_function_without_sizes_that_gives_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no width and no depth"):
        built(dict, Shape(lambda: 1, 1), Size(width=0.5))


def test_a_narrower_network_is_trained_and_its_parameters_and_flops_are_counted(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN_NET)
    problem = shrink_of(table(tmp_path, load_breast_cancer()), "auc", OWN, "net.py:build")
    today = problem.measure(CURRENT, Sample("search", 0)).metrics
    small = problem.measure(ShrinkPlan("resized", width=0.25, depth=0.5), Sample("search", 0)).metrics
    assert today["parameters"] == 30 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2
    assert today["flops"] == 2 * (30 * 32 + 32 * 32 + 32 * 2)
    assert small["parameters"] == 30 * 8 + 8 + 8 * 2 + 2
    assert min(today["auc"], small["auc"]) > 0.9
    again = replace(problem, cache=str(tmp_path / "cache"))
    assert again.measure(CURRENT, Sample("search", 0)).metrics["auc"] == today["auc"]  # the same seed, the same net


def test_how_well_flops_rank_the_sizes_is_told() -> None:
    made = [
        Point(ShrinkPlan("resized", width=width), 0.9 - flops / 1e4, {"flops": flops, "parameters": 1 / flops})
        for width, flops in zip((0.1, 0.2, 0.3, 0.4), (4.0, 3.0, 2.0, 1.0), strict=True)
    ]
    assert "-1.00" in ranked_by_size(made, "auc")
    assert "+1.00" in ranked_by_size(made, "auc")
    assert ranked_by_size(made[:3], "auc") == ""

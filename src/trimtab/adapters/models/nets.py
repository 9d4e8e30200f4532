"""torch modules as models: trained on encoded rows, made narrower or shallower, their parameters and FLOPs counted.

A user's function says how its sizes are called: `build(width=256, depth=4)`, with today's sizes as defaults. One that
returns a module and takes no sizes has its Linear and Conv layers scaled. `inputs` and `outputs` are given to a
function that asks for them: the columns after encoding, and the classes (1: a quantity).
"""

from __future__ import annotations

import copy
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.adapters.models.dense import Design
from trimtab.adapters.models.encoding import Matrix
from trimtab.adapters.sources.dataset import Task

EPOCHS, PATIENCE, BATCH, RATE = 40, 4, 128, 2e-3
HELD_SHARE = 0.1  # of the training rows, the last ones: what early stopping watches


@dataclass(frozen=True)
class Size:
    """Shares of today's width and depth."""

    width: float = 1.0
    depth: float = 1.0


FULL = Size()


@dataclass(frozen=True)
class Shape:
    """What goes in and out: columns after encoding (counted only for a function that asks), and classes."""

    inputs: Callable[[], int]
    outputs: int


UNKNOWN = Shape(lambda: 0, 0)


def is_module(model: Any) -> bool:
    """Whether it is a torch module; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def built(function: Callable[..., Any], shape: Shape, size: Size) -> Any:
    """What a user's function returns at a size. Raises ValueError when it cannot be made at another one."""
    taken = _parameters(function)
    given = _sizes(taken, size)
    if "inputs" in taken:
        given["inputs"] = shape.inputs()
    if "outputs" in taken:
        given["outputs"] = shape.outputs
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    model = function(**given)
    if size == FULL or {"width", "depth"} & set(taken):
        return model
    if not is_module(model):
        raise ValueError("the function of today's model takes no width and no depth: it has no smaller sizes")
    return scaled(model, size)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # some of C's do not tell
        return {}


def _sizes(taken: Mapping[str, inspect.Parameter], size: Size) -> dict[str, int]:
    found = {}
    for name, share in (("width", size.width), ("depth", size.depth)):
        if name not in taken or share == 1.0:
            continue
        today = taken[name].default
        if not isinstance(today, int) or today < 1:
            raise ValueError(f"{name} has no whole number as its default: today's size is not known")
        found[name] = max(1, round(today * share))
    return found


def scaled(module: Any, size: Size) -> Any:
    """A copy whose hidden Linear and Conv layers are narrower and fewer, with fresh weights where sizes changed.

    Raises ValueError for modules with weights of other kinds: how they hang together is not known.
    """
    module = copy.deepcopy(module)
    places = list(_layers(module))
    weighted = [layer for _, _, layer in places if _is_weighted(layer)]
    if len(weighted) < 2:
        raise ValueError("the module has no hidden layer that could be made smaller")
    dropped = _dropped(weighted, size.depth)
    before, after = 0, 0
    for parent, name, layer in places:
        if not _is_weighted(layer):
            setattr(parent, name, type(layer)(_narrowed(_features(layer), before, after)))
            continue
        wide, out = _ends(layer)
        new_in = _narrowed(wide, before, after)
        new_out = out if layer is weighted[-1] else max(1, round(out * size.width))
        setattr(parent, name, _identity() if layer in dropped else _resized(layer, new_in, new_out))
        before, after = out, new_out
    return module


def _narrowed(wide: int, before: int, after: int) -> int:
    """How many features a layer takes when the one before it gives `after` instead of `before` (0: there is none).

    A flattened image has many places a channel. Raises ValueError when it is none of the two.
    """
    if before and wide % before:
        raise ValueError(
            f"a layer takes {wide} features and the one defined before it gives {before}: how they hang together is "
            "not known: give the function a width and a depth"
        )
    return wide // before * after if before else wide


def _layers(module: Any) -> Iterator[tuple[Any, str, Any]]:
    """(parent, name, layer) of everything with weights, in the order of definition."""
    paths = [(path, one) for path, one in module.named_modules(remove_duplicate=False) if _has_weights(one)]
    if len({id(one) for _, one in paths}) < len(paths):
        raise ValueError("a layer is used under two names: give the function a width and a depth")
    for path, layer in paths:
        if not (_is_weighted(layer) or _is_norm(layer)):
            raise ValueError(
                f"a {type(layer).__name__} is not scaled, only Linear and Conv layers are: "
                "give the function a width and a depth"
            )
        parent, _, name = path.rpartition(".")
        yield module.get_submodule(parent), name, layer


def _has_weights(layer: Any) -> bool:
    return next(layer.parameters(recurse=False), None) is not None


def _is_weighted(layer: Any) -> bool:
    return hasattr(layer, "in_features") or (hasattr(layer, "in_channels") and layer.groups == 1)


def _is_norm(layer: Any) -> bool:
    return hasattr(layer, "num_features") or len(getattr(layer, "normalized_shape", ())) == 1


def _ends(layer: Any) -> tuple[int, int]:
    if hasattr(layer, "in_features"):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels


def _features(layer: Any) -> int:
    return int(layer.num_features if hasattr(layer, "num_features") else layer.normalized_shape[-1])


def _dropped(weighted: list[Any], share: float) -> list[Any]:
    """Hidden layers that give as many features as they take can go; so many that `share` of them stays."""
    same = [one for one in weighted[1:-1] if _ends(one)[0] == _ends(one)[1] and _keeps_places(one)]
    return same[round(len(same) * share) :]


def _keeps_places(layer: Any) -> bool:
    """Whether an image comes out as large as it went in."""
    if hasattr(layer, "in_features"):
        return True
    wanted = tuple(spread * (size - 1) // 2 for spread, size in zip(layer.dilation, layer.kernel_size, strict=True))
    return set(layer.stride) == {1} and layer.padding in (wanted, "same")


def _resized(layer: Any, wide: int, out: int) -> Any:
    if hasattr(layer, "in_features"):
        return type(layer)(wide, out, bias=layer.bias is not None)
    kept = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    return type(layer)(wide, out, bias=layer.bias is not None, **kept)


def _identity() -> Any:
    import torch

    return torch.nn.Identity()


class Net:
    """A module with its design, as an estimator: fit, predict, predict_proba. One thread: small nets gain by no more.

    Trained by AdamW until held-out rows gain no more. Whoever wants another training returns an estimator of their own.
    """

    def __init__(self, module: Any, design: Design, task: Task) -> None:
        self.module, self.design, self.task = module, design, task
        self.shift, self.spread = 0.0, 1.0

    def fit(self, x: Matrix, y: Matrix) -> Net:
        """Train; the best epoch's weights stay."""
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        if self.task == "regression":
            self.shift, self.spread = float(y.mean()), float(y.std()) or 1.0
        rows, target = self._tensor(x), torch.as_tensor((y - self.shift) / self.spread, dtype=torch.float32)
        held = max(1, round(len(rows) * HELD_SHARE))
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=RATE)
        best, kept, stale = math.inf, copy.deepcopy(self.module.state_dict()), 0
        for _ in range(EPOCHS):
            self.module.train()
            order = torch.randperm(len(rows) - held)
            for batch in (order[start : start + BATCH] for start in range(0, len(order), BATCH)):
                optimizer.zero_grad()
                self._loss(self.module(rows[batch]), target[batch]).backward()
                optimizer.step()
            loss = self._held(rows[-held:], target[-held:])
            best, stale, kept = (
                (loss, 0, copy.deepcopy(self.module.state_dict())) if loss < best else (best, stale + 1, kept)
            )
            if stale >= PATIENCE:
                break
        self.module.load_state_dict(kept)
        return self

    def predict(self, x: Matrix) -> Matrix:
        """Values."""
        return self._scores(x)[:, 0] * self.spread + self.shift

    def predict_proba(self, x: Matrix) -> Matrix:
        """The chances of the classes, (n, k)."""
        scores = self._scores(x)
        if scores.shape[1] == 1:
            scores = np.column_stack([np.zeros(len(scores)), scores])
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def _tensor(self, x: Matrix) -> Any:
        import torch

        matrix = self.design.matrix(x)
        return torch.as_tensor(np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, np.float32))

    def _scores(self, x: Matrix) -> Matrix:
        import torch

        self.module.eval()
        with torch.no_grad():
            return np.asarray(self.module(self._tensor(x)).reshape(len(x), -1).double().numpy())

    def _loss(self, scores: Any, target: Any) -> Any:
        from torch.nn import functional

        scores = scores.reshape(len(target), -1)
        if self.task == "regression":
            return functional.mse_loss(scores[:, 0], target)
        if scores.shape[1] == 1:
            return functional.binary_cross_entropy_with_logits(scores[:, 0], target)
        return functional.cross_entropy(scores, target.long())

    def _held(self, rows: Any, target: Any) -> float:
        import torch

        self.module.eval()
        with torch.no_grad():
            return float(self._loss(self.module(rows), target))


def counted(model: Any, call: Callable[[], Any], rows: int) -> dict[str, float]:
    """Parameters of the modules that an estimator holds, and FLOPs of a row in `call`; empty without any module."""
    modules = [one for one in (model, *getattr(model, "__dict__", {}).values()) if is_module(one)]
    if not modules:
        return {}
    from torch.utils.flop_counter import FlopCounterMode

    parameters = {id(one): one.numel() for module in modules for one in module.parameters()}
    with FlopCounterMode(display=False) as counter:
        call()
    return {"parameters": float(sum(parameters.values())), "flops": counter.get_total_flops() / rows}

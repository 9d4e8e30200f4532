"""pack: nodes are never overfull, the loss is the paper's, the loop does no worse than the known rules, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.programs import compile_program
from trimtab.cluster.packing import policies
from trimtab.cluster.packing.bound import most_allocated
from trimtab.cluster.packing.fleet import Fleet, read_fleet
from trimtab.cluster.packing.plan import LIBRARY, PEERS, PackingPlan
from trimtab.cluster.packing.problem import CAPABILITY, LEVELS, Packing, allocation, drawn, library
from trimtab.cluster.packing.simulator import FIT, filled
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

RULES = {"spread": PackingPlan(), **PEERS, **LIBRARY}


def placed(sizes, kinds, arrivals, program: str, mix=None):
    kinds = np.asarray(kinds, float)
    mix = mix or (kinds, np.full(len(kinds), 1 / len(kinds)))
    return filled(
        np.asarray(sizes, float), kinds, np.asarray(arrivals), mix, compile_program(program, FIT), "change" in program
    )


def test_best_fit_takes_the_fullest_node_and_spread_the_emptiest() -> None:
    sizes, kinds = [[8, 32, 1], [4, 16, 1]], [[2, 4, 1, 0.25]]
    assert placed(sizes, kinds, [0, 0, 0], policies.BEST).tolist() == [1, 1, 0]
    assert placed(sizes, kinds, [0, 0], policies.SPREAD).tolist() == [0, 1]


def test_what_fits_nowhere_is_turned_away() -> None:
    kinds = [[1, 1, 2, 1.0], [1, 1, 1, 0.6], [9, 1, 0, 0.0]]
    # Two nodes of one GPU each: nobody gets two, and shares of 0.6 do not go together.
    assert placed([[4, 8, 1], [4, 8, 1]], kinds, [0, 1, 1, 1, 2], policies.FIRST).tolist() == [-1, 0, 1, -1, -1]


def test_the_loss_is_what_the_usual_pods_cannot_use() -> None:
    # Two GPUs; half of the usual pods want 0.5 of one, half want two. A share of 0.6 leaves 0.4 and 1.0: the first kind
    # cannot use the 0.4, the second none of it: 0.9 in the mean. A share of 0.2 is 0.9, too: 0 and 1.8.
    mix = (np.array([[1.0, 1.0, 1, 0.5], [1.0, 1.0, 2, 1.0]]), np.array([0.5, 0.5]))
    kinds, nodes = [[1.0, 1.0, 1, 0.6], [1.0, 1.0, 1, 0.2], [1.0, 1.0, 2, 1.0]], [[8, 8, 2], [8, 8, 8]]
    for kind, loss in ((0, 0.9), (1, 0.9), (2, 0.0)):
        for guess in (loss, loss + 0.1):
            is_right = f"gpu_all == 2 and abs(change - {guess}) < 0.001"
            program = f"{FIT.head}\n    return 1 if {is_right} else (3 if gpu_all == 2 else 2)\n"
            assert placed(nodes, kinds, [kind], program, mix).tolist() == [0 if guess == loss else 1]


@pytest.mark.parametrize("name", list(RULES))
def test_no_node_is_overfull(name: str, tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 1)
    fleet = problem.fleet
    arrivals = drawn(fleet, "all", 0)
    nodes = placed(fleet.sizes, fleet.kinds, arrivals, RULES[name].program, fleet.mix(fleet.codes))
    kinds = fleet.kinds[arrivals]
    for column, used in enumerate((kinds[:, 0], kinds[:, 1], kinds[:, 2] * kinds[:, 3])):
        total = np.bincount(nodes[nodes >= 0], weights=used[nodes >= 0], minlength=len(fleet.sizes))
        assert (total <= fleet.sizes[:, column] + 1e-6).all()
    assert (nodes == -1).any()
    assert (nodes >= 0).sum() > 20


def test_scores_that_are_kept_place_pods_as_scores_that_are_not(tmp_path: Path) -> None:
    fleet = CAPABILITY.sample(tmp_path, 2).fleet
    arrivals = drawn(fleet, "all", 3)
    found = placed(fleet.sizes, fleet.kinds, arrivals, policies.BEST)
    rooms, free = fleet.sizes[:, :2].copy(), [[1.0] * int(gpus) for gpus in fleet.sizes[:, 2]]
    for at, kind in enumerate(arrivals):
        cpu, memory, count, share = fleet.kinds[kind]
        options = []
        for node, (cores, _, gpus) in enumerate(fleet.sizes):
            if rooms[node, 0] < cpu - 1e-9 or rooms[node, 1] < memory - 1e-9:
                continue
            for gpu in range(int(gpus) if count else 1):
                if count and free[node][gpu] < share - 1e-9:
                    continue
                left = free[node][gpu] - share if count and share < 1 else 0.0
                score = (rooms[node, 0] - cpu) / max(1, cores) + (sum(free[node]) - count * share) / max(1, gpus) + left
                options.append((round(score, 9), node, gpu))
        best = min(options, default=(0, -1, 0))
        assert found[at] == best[1]
        if best[1] >= 0:
            rooms[best[1]] -= cpu, memory
            if count:
                free[best[1]][best[2]] -= share


def test_the_loop_does_no_worse_than_the_known_rules(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 4)
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(cpu_seconds=3),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    plan = decision.current if decision.winner is None else decision.winner.proposal.plan
    made = {
        name: np.mean([allocation(problem, one, "holdout", seed)[LEVELS.index(1.0)] for seed in range(20, 30)])
        for name, one in {**problem.baselines(), "chosen": plan}.items()
    }
    assert made["chosen"] >= made["current"] - 0.005


def test_pods_ask_for_no_more_than_they_are_drawn_for(tmp_path: Path) -> None:
    fleet = CAPABILITY.sample(tmp_path, 5).fleet
    asked = fleet.asked(drawn(fleet, "search", 0)).sum()
    assert LEVELS[-1] * fleet.gpus - 1 <= asked <= LEVELS[-1] * fleet.gpus


@pytest.mark.parametrize(
    ("pods", "nodes", "said"),
    [
        ("cpu,memory_gib\n" + "1,1\n" * 300, "cpu,memory_gib,gpus\n8,8,0\n", "no node has a GPU"),
        ("cpu,memory_gib\n" + "1,1\n" * 9, "cpu,memory_gib,gpus\n8,8,1\n", "9 pods"),
        ("cpu,gib\n" + "1,1\n" * 300, "cpu,memory_gib,gpus\n8,8,1\n", "no column of memory"),
        ("cpu,memory_gib\n" + "-1,1\n" * 300, "cpu,memory_gib,gpus\n8,8,1\n", "negative"),
        ("cpu,memory_gib,gpus\n" + "1,1,0.5\n" * 300, "cpu,memory_gib,gpus\n8,8,1\n", "whole numbers"),
        ("cpu,memory_gib,gpus\n" + "1,x,1\n" * 300, "cpu,memory_gib,gpus\n8,8,1\n", "holds no numbers"),
        ("cpu,memory_gib,gpus\n" + "1,1,1\n" * 300, "cpu,memory_gib,gpus\n8,8,16\n", "more than 8 GPUs"),
    ],
)
def test_files_that_make_no_sense_are_refused(pods: str, nodes: str, said: str, tmp_path: Path) -> None:
    for name, text in (("pods.csv", pods), ("nodes.csv", nodes)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_fleet(str(tmp_path / "pods.csv"), str(tmp_path / "nodes.csv"))


def test_a_fleet_of_millis_is_one_of_cores(tmp_path: Path) -> None:
    (tmp_path / "pods.csv").write_text(
        "cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time\n" + "2000,1024,1,460,5\n" * 200, encoding="utf-8"
    )
    (tmp_path / "nodes.csv").write_text("cpu_milli,memory_mib,gpu,model\n32000,262144,,\n8000,8192,2,T4\n")
    fleet = read_fleet(str(tmp_path / "pods.csv"), str(tmp_path / "nodes.csv"))
    assert fleet.kinds.tolist() == [[2.0, 1.0, 1.0, 0.46]]
    assert fleet.sizes.tolist() == [[32.0, 256.0, 0.0], [8.0, 8.0, 2.0]]
    assert Packing(str(tmp_path / "pods.csv"), str(tmp_path / "nodes.csv")).observe().facts["gpus"] == 2.0


def test_no_rule_allocates_more_than_the_bound_and_the_bound_can_be_met(tmp_path: Path) -> None:
    fleet = CAPABILITY.sample(tmp_path, 6).fleet
    arrivals = drawn(fleet, "all", 1)
    most = most_allocated(fleet, arrivals)
    for rule in RULES.values():
        nodes = placed(fleet.sizes, fleet.kinds, arrivals, rule.program, fleet.mix(fleet.codes))
        assert fleet.asked(arrivals[nodes >= 0]).sum() / fleet.gpus <= most + 1e-9
    # Two GPUs: three shares of 0.6 leave 0.4 of each; one of 0.1 can be told apart from what is left.
    kinds = np.array([[1.0, 1.0, 1, 0.6], [1.0, 1.0, 1, 0.1]])
    two = Fleet(np.array([[8.0, 8.0, 2.0]]), kinds, np.array([0, 0, 0, 1]))
    assert most_allocated(two, two.codes) == pytest.approx(1.3 / 2)

"""Known patches of training scripts: each rewrites the source, or leaves it as it is where it does not apply.

They keep formatting and comments (libcst). None is believed: all are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst

from trimtab.training.scripts import feeding, loops, repairs, rewrites, vectors
from trimtab.training.scripts.plan import PatchPlan


@dataclass(frozen=True, slots=True)
class Patch:
    """is_exact: the result must stay the same but for rounding of the last digits, seed by seed.

    may_stop: it may make fewer steps, where its result is as good. is_for_gpu: without a GPU it gains nothing.
    """

    name: str
    why: str
    is_exact: bool
    rewrite: Callable[[cst.Module], cst.Module]
    may_stop: bool = False
    is_for_gpu: bool = False


PATCHES: tuple[Patch, ...] = (
    Patch("one-thread", "threads that wait for each other spin, and small operations gain nothing", False,
          rewrites.one_thread),
    Patch("half-the-threads", "as many threads as the host has cores to spare", False, rewrites.half_the_threads),
    Patch("one-job", "worker processes copy data and fight for cores", False, rewrites.one_job),
    Patch("jobs-outside-only", "workers of workers are more than the cores", False, rewrites.jobs_outside_only),
    Patch("loader-in-process", "loader workers cost more than light transforms", False, rewrites.loader_in_process),
    Patch("load-once", "what a loop reads anew each time is read before it", True, loops.load_once),
    Patch("pipeline-memory", "a search fits the same early steps again and again", True, rewrites.pipeline_memory),
    Patch("no-gradients-in-evaluation", "an evaluation that builds graphs throws them away", True,
          rewrites.no_gradients),
    Patch("fused-optimizer", "one pass over all parameters instead of one for each", False, rewrites.fused_optimizer),
    Patch("fused-cells", "a loop of cells as one call", False, loops.fused_cells),
    Patch("rows-at-once", "a loader that collates rows one by one costs more than a small model's step", True,
          feeding.rows_at_once),
    Patch("windows-at-once", "one look-up instead of a list of slices", True, vectors.windows_at_once),
    Patch("vectorised-loops", "Python's loops over elements cost a hundred times an array's", True,
          vectors.vectorised_loops),
    Patch("no-debugging", "what only waits, cleans up or checks in each step", True, feeding.no_debugging),
    Patch("no-waiting-for-sums", "a sum that is read in each step waits for it", False, feeding.no_waiting_for_sums),
    Patch("loader-workers", "a GPU waits for rows that are read between its steps", False, rewrites.loader_workers,
          is_for_gpu=True),
    Patch("tf32", "tensor cores multiply single precision with fewer digits, many times as fast", False, rewrites.tf32,
          is_for_gpu=True),
    Patch("bf16-forward", "half the bytes a number, and tensor cores", False, rewrites.bf16_forward, is_for_gpu=True),
    Patch("early-stopping", "rounds without a better score are for nothing", False, feeding.early_stopping, True),
)  # fmt: skip
KNOWN = {one.name: one for one in PATCHES}


class PatchFault(ValueError):
    """A plan that cannot be made of this script, and why."""


def patched(source: str, plan: PatchPlan) -> str:
    """The script after a plan. Raises PatchFault for edits that do not fit and results that are no Python."""
    for name in plan.patches:
        if name not in KNOWN:
            raise PatchFault(f"there is no patch {name!r}")
        source = KNOWN[name].rewrite(parsed(source)).code
    for edit in plan.edits:
        count = source.count(edit.before) if edit.before else 0
        if count != 1:
            raise PatchFault(f"the passage {edit.before[:60]!r} is {count} times in the script, not once")
        source = source.replace(edit.before, edit.after)
    parsed(source)
    return source


def parsed(source: str) -> cst.Module:
    """A script's tree. Raises PatchFault when it is no Python."""
    try:
        return cst.parse_module(source)
    except cst.ParserSyntaxError as error:
        raise PatchFault(f"line {error.raw_line}: {error.message.split(', [')[0].split(': expected')[0]}") from None


def applicable(source: str) -> tuple[str, ...]:
    """The patches that change this script."""
    module = parsed(source)
    return tuple(one.name for one in PATCHES if one.rewrite(module).code != source)


def is_exact(plan: PatchPlan) -> bool:
    """Whether the result must stay the same, seed by seed: edits by somebody say nothing of it."""
    return not plan.edits and all(KNOWN[name].is_exact for name in plan.patches)


def may_stop(plan: PatchPlan) -> bool:
    """Whether a plan may make fewer steps: edits by somebody never may."""
    return not plan.edits and any(KNOWN[name].may_stop for name in plan.patches)


def repaired(source: str) -> str:
    """The script with calls mended that newer libraries have renamed. Raises PatchFault when it is no Python."""
    return repairs.repaired(parsed(source)).code

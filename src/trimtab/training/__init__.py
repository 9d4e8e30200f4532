"""The training area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = (
    "trimtab.training.selection.problem:CAPABILITY",
    "trimtab.training.architecture.problem:CAPABILITY",
    "trimtab.training.scripts.problem:CAPABILITY",
)
PARTS: tuple[str, ...] = ("allocation", "tracking")

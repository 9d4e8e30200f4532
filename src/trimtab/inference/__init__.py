"""The inference area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = (
    "trimtab.inference.conversion.problem:CAPABILITY",
    "trimtab.inference.balancing.problem:CAPABILITY",
)
PARTS: tuple[str, ...] = ()

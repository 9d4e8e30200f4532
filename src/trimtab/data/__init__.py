"""The data area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = ("trimtab.data.quality.problem:CAPABILITY",)
PARTS: tuple[str, ...] = ()

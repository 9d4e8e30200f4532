"""The cluster area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = ("trimtab.cluster.scaling.problem:CAPABILITY",)
PARTS: tuple[str, ...] = ("forecasting",)

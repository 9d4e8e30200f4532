"""The deployment area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = ("trimtab.deployment.packaging.problem:CAPABILITY",)
PARTS: tuple[str, ...] = ()

"""The cluster area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing themselves."""

PROBLEMS: tuple[str, ...] = ()
PARTS: tuple[str, ...] = ()

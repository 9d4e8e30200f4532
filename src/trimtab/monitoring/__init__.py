"""The monitoring area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = (
    "trimtab.monitoring.drift.problem:CAPABILITY",
    "trimtab.monitoring.retraining.problem:CAPABILITY",
)
PARTS: tuple[str, ...] = ("performance", "profile")

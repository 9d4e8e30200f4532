"""The cluster area: PROBLEMS lists its capabilities by import path, PARTS its folders that decide nothing."""

PROBLEMS: tuple[str, ...] = (
    "trimtab.cluster.scaling.problem:CAPABILITY",
    "trimtab.cluster.idling.problem:CAPABILITY",
    "trimtab.cluster.deferring.problem:CAPABILITY",
    "trimtab.cluster.deferring.problem:SPOT",
    "trimtab.cluster.rightsizing.problem:CAPABILITY",
    "trimtab.cluster.scheduling.problem:CAPABILITY",
    "trimtab.cluster.packing.problem:CAPABILITY",
    "trimtab.cluster.forecasting.problem:CAPABILITY",
)
PARTS: tuple[str, ...] = ()

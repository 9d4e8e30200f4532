"""Training runs into MLflow's tracking store, for those who live there: parameters, metrics with their curves, tags."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from trimtab.core.errors import InputError, OutsideError
from trimtab.core.events import RunEnded

BATCH = 500  # of metrics in one call; MLflow takes 1000
LONGEST = 500  # characters of a value
STATES = {"done": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


def export(runs: Iterable[RunEnded], uri: str, experiment: str) -> int:
    """Write runs that are not there yet; returns how many.

    Raises InputError where MLflow is not installed or the address is none, OutsideError where it does not answer.
    """
    try:
        import mlflow
    except ImportError:
        raise InputError("MLflow is not installed", hint="pip install 'trimtab[mlflow]'") from None
    try:
        client: Any = mlflow.MlflowClient(tracking_uri=uri)
        place = _experiment(client, experiment)
        return sum(_written(client, mlflow, place, one) for one in runs)
    except mlflow.exceptions.MlflowException as error:
        raise OutsideError(f"MLflow at {uri}: {str(error).splitlines()[0]}", hint="check --to") from None


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _written(client: Any, mlflow: Any, experiment: str, run: RunEnded) -> bool:
    if client.search_runs([experiment], f"tags.`trimtab.run` = '{run.run}'", max_results=1):
        return False
    began = int(datetime.fromisoformat(run.began).timestamp() * 1000)
    tags = {
        "trimtab.run": run.run,
        "trimtab.by": run.by,
        "trimtab.command": " ".join(run.command)[:LONGEST],
        "trimtab.environment": run.environment,
        "mlflow.source.git.commit": str(run.code.get("commit", "")),
    }
    made = client.create_run(experiment, start_time=began, tags=tags, run_name=run.name)
    of, at = mlflow.entities, began
    parameters = [of.Param(_key(name), str(value)[:LONGEST]) for name, value in run.parameters.items()]
    metrics = [of.Metric(_key(name), value, at, step) for name, curve in run.curves.items() for step, value in curve]
    spent = run.spent
    own = {"cpu_seconds": spent.cpu_seconds, "peak_rss_bytes": float(spent.peak_rss_bytes)}
    if spent.gpu_seconds:
        own |= {"gpu_seconds": spent.gpu_seconds, "peak_gpu_bytes": float(spent.peak_gpu_bytes)}
    metrics += [of.Metric(f"trimtab.{name}", value, at, 0) for name, value in own.items()]
    for start in range(0, len(parameters), 100):
        client.log_batch(made.info.run_id, params=parameters[start : start + 100])
    for start in range(0, len(metrics), BATCH):
        client.log_batch(made.info.run_id, metrics=metrics[start : start + BATCH])
    client.set_terminated(made.info.run_id, STATES.get(run.status, "FINISHED"), began + int(spent.wall_seconds * 1000))
    return True


def _key(name: str) -> str:
    """MLflow's names hold letters, digits, _ - . space : / only."""
    return "".join(one if one.isalnum() or one in "_-. :/" else "_" for one in name)[:250]

"""The verbs that take a file of a cluster's history: jobs, pods, usage, prices, spot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from trimtab.faces.cli.options import CLUSTER, AsJson, Certificate, Manifests, Save

app = typer.Typer()


@app.command(rich_help_panel=CLUSTER)
def fetch(
    server: Annotated[str, typer.Argument(help="a Prometheus server, such as http://localhost:9090")],
    query: Annotated[str, typer.Option(help="PromQL, such as 'sum(rate(http_requests_total[1m]))'")],
    out: Annotated[Path, typer.Option(help="the .csv to write")],
    days: Annotated[float, typer.Option(help="of history, until now")] = 14.0,
    step: Annotated[int, typer.Option(help="seconds from value to value")] = 60,
    by: Annotated[str, typer.Option(help="the label that tells series apart, such as pod")] = "",
    column: Annotated[str, typer.Option(help="a name for the values, such as memory")] = "rate",
) -> None:
    """Fetch a history from Prometheus into a .csv, for the verbs that take one (token: TRIMTAB_PROMETHEUS_TOKEN)."""
    from trimtab.adapters.sources.prometheus import RangeQuery
    from trimtab.faces.cli import histories

    now = time.time() // step * step if step > 0 else time.time()
    histories.fetch(RangeQuery(server, query, now - days * 86_400, now, step, by, column), out)


@app.command(rich_help_panel=CLUSTER)
def forecast(
    trace: Annotated[Path, typer.Argument(help="a .csv of times (one a request), or of times and rates")],
    hours: Annotated[float, typer.Option(help="ahead")] = 24.0,
    out: Annotated[Path | None, typer.Option(help="write the forecast to this .csv")] = None,
    budget: Annotated[float, typer.Option(help="CPU seconds of search")] = 20.0,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Forecast a trace, with intervals whose coverage was measured on unseen time."""
    from trimtab.faces.cli import histories

    histories.forecast(trace, hours, out, budget, histories.Output(None, certificate, as_json))


@app.command(rich_help_panel=CLUSTER)
def defer(
    series: Annotated[Path, typer.Argument(help="a .csv of times and prices or carbon intensities")],
    hours: Annotated[float, typer.Option(help="of work")] = 4.0,
    within: Annotated[float, typer.Option(help="hours after it is handed in, by which it is done")] = 24.0,
    whole: Annotated[bool, typer.Option("--whole", help="the work must be in one piece")] = False,
    column: Annotated[str, typer.Option(help="of the values, when there are several")] = "",
    rows: Annotated[str, typer.Option(help="column=value: use these rows only, here and in --ahead")] = "",
    ahead_rows: Annotated[str | None, typer.Option(help="other rows of --ahead; '' for all")] = None,
    ahead: Annotated[Path | None, typer.Option(help="a series published at noon UTC for all of the next day")] = None,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose when work runs that may wait, by replaying prices or carbon intensities."""
    from trimtab.faces.cli import histories

    output = histories.Output(None, certificate, as_json)
    beside = None if ahead is None else (ahead, rows if ahead_rows is None else ahead_rows)
    histories.defer(series, (hours, within, whole), (column, rows), beside, output)


@app.command(rich_help_panel=CLUSTER)
def rightsize(
    usage: Annotated[Path, typer.Argument(help="a .csv of time, pod, and cpu (cores) or memory (bytes or shares)")],
    risk: Annotated[float, typer.Option(help="share of pods that may ever be over their request")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="a folder for Kubernetes patches")] = None,
    budget: Annotated[float, typer.Option(help="CPU seconds of search for each resource")] = 60.0,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose requests for CPU and memory from what pods used, at a stated risk."""
    from trimtab.faces.cli import histories

    histories.rightsize(usage, risk, out, budget, histories.Output(None, certificate, as_json))


@app.command(rich_help_panel=CLUSTER)
def schedule(
    jobs: Annotated[Path, typer.Argument(help="a .csv of submit_s, duration_s, num_gpus, tenant …, or sacct's output")],
    cluster: Annotated[Path, typer.Option(help="a .toml of the nodes: see docs/histories.md")] = Path("cluster.toml"),
    budget: Annotated[float, typer.Option(help="CPU seconds of search")] = 15.0,
    save: Save = None,
    manifests: Manifests = None,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose which job runs next on a GPU cluster, by replaying your own job log."""
    from trimtab.faces.cli import histories

    histories.schedule(jobs, cluster, budget, histories.Output(save, certificate, as_json, manifests))


@app.command(rich_help_panel=CLUSTER)
def pack(
    pods: Annotated[Path, typer.Argument(help="a .csv of cpu, memory, gpus and gpu_share, in the order of time")],
    nodes: Annotated[Path, typer.Option(help="a .csv of cpu, memory and gpus")],
    budget: Annotated[float, typer.Option(help="CPU seconds of search")] = 60.0,
    save: Save = None,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose on which node and GPU a pod goes, by filling your own nodes with your own pods."""
    from trimtab.faces.cli import histories

    histories.pack(pods, nodes, budget, histories.Output(save, certificate, as_json))


@app.command(rich_help_panel=CLUSTER)
def spot(
    traces: Annotated[list[Path], typer.Argument(help=".csv of times and 1 or 0, or .json as SkyPilot publishes it")],
    hours: Annotated[float, typer.Option(help="of work")] = 48.0,
    within: Annotated[float, typer.Option(help="hours after it is handed in, by which it is done")] = 70.0,
    overhead: Annotated[float, typer.Option(help="hours lost at every start")] = 0.1,
    price: Annotated[float, typer.Option(help="of an hour on spot; on demand it costs 1")] = 0.32,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose what jobs with a deadline run on, spot or on demand, by replaying spot availability."""
    from trimtab.faces.cli import histories

    histories.spot(traces, (hours, within, overhead, price), histories.Output(None, certificate, as_json))

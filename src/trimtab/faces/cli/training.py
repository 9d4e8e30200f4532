"""The verbs that watch trainings and list them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.core.errors import InputError
from trimtab.faces.cli.groups import DEFAULT_VERB, WithDefault
from trimtab.faces.cli.options import TRAINING, AsJson, Certificate, Folder, NoModel, Place, Target

HERE = Path(".")
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

app = typer.Typer()
watch_app = typer.Typer(
    cls=WithDefault,
    help="Watch a training: what holds it back, what it will need; tune its threads while it runs. "
    "`trimtab watch -- python train.py`, or --pid; `watch report` sizes the next run's request.",
    no_args_is_help=True,
)
runs_app = typer.Typer(cls=WithDefault, help="List, compare, plot and export the training runs of this folder.")


@watch_app.command(
    DEFAULT_VERB,
    hidden=True,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def watch(
    command: Annotated[list[str] | None, typer.Argument(help="the job, such as: python train.py --epochs 3")] = None,
    pid: Annotated[int | None, typer.Option(help="watch this process, which runs already")] = None,
    name: Annotated[str, typer.Option(help="of the run; default: the script's")] = "",
    live: Annotated[bool, typer.Option("--live", help="a panel that changes in place; wants --log")] = False,
    log: Annotated[Path | None, typer.Option(help="write the job's output to this file")] = None,
    stream: Annotated[Path | None, typer.Option(help="write each look as a JSON line to this file")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="serve OpenMetrics here; 0: any free port")] = None,
    act: Annotated[bool, typer.Option(help="try fewer threads, keep what is better")] = True,
    nice: Annotated[int | None, typer.Option(help="try this niceness while others hold the job up, such as -5")] = None,
    weight: Annotated[
        int | None, typer.Option(help="the same by the weight of a control group of its own, such as 400; usual is 100")
    ] = None,
    memory: Annotated[str, typer.Option(help="end the job when it grows beyond this, such as 4G")] = "",
    retries: Annotated[int, typer.Option(help="start again with half as much more memory, so many times")] = 0,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Watch a job from its start to its end."""
    from trimtab.faces.cli.watching import Shown, Wish
    from trimtab.faces.cli.watching import watch as watched

    if (pid is None) == (not command):
        raise InputError("give a command or --pid", hint="trimtab watch -- python train.py")
    if live and log is None and pid is None:
        raise InputError("--live needs the terminal for itself", hint="send the job's output to a file: --log job.log")
    for option, value in (("--nice", nice), ("--weight", weight)):
        if value is not None and (pid is not None or not act):
            said = f"{option} changes a job, and this one is only looked at"
            raise InputError(said, hint="leave out --pid and --no-act")
    if nice is not None and weight is not None:
        raise InputError("--nice and --weight do the same", hint="--weight counts among control groups, --nice in one")
    wish = Wish(tuple(command or ()), pid, name, folder, act, nice, weight, in_bytes(memory), retries)
    code = watched(wish, Shown(live, log, stream, metrics_port, as_json))
    if code:
        raise typer.Exit(code)


def in_bytes(text: str) -> int | None:
    """Bytes of '4G', '512M', '1.5g' or a number; None of an empty text. Raises InputError."""
    if not text:
        return None
    unit = UNITS.get(text.lower().removesuffix("ib").removesuffix("b")[-1:], 1)
    digits = text.lower().removesuffix("ib").removesuffix("b").rstrip("kmgt")
    try:
        found = int(float(digits) * unit)
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise InputError(f"{text!r} is no size of memory", hint="such as 512M or 4G")
    return found


@watch_app.command("report")
def report(
    name: Annotated[str, typer.Argument(help="of the runs; default: the newest's")] = "",
    at: Annotated[list[str] | None, typer.Option(help="a number of the next run, such as rows=200000")] = None,
    risk: Annotated[float, typer.Option(help="of needing more than the request")] = 0.005,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Size the memory request of the next run by those that have ended."""
    from trimtab.faces.cli import running

    running.report(folder, name, at or (), risk, as_json=as_json)


@app.command(rich_help_panel=TRAINING, context_settings={"ignore_unknown_options": True})
def speedup(
    script: Annotated[Path, typer.Argument(help="a Python script that trains and tells a metric")],
    arguments: Annotated[list[str] | None, typer.Argument(help="for the script, behind --")] = None,
    metric: Annotated[str, typer.Option(help="as the script prints or logs it, such as loss")] = "loss",
    goal: Annotated[str, typer.Option(help="min or max, where the metric's name does not say")] = "",
    tolerance: Annotated[
        float, typer.Option(help="share of the metric that may be lost, where rounding changes")
    ] = 0.02,
    budget: Annotated[float, typer.Option(help="CPU seconds of search; 0: forty runs of the script")] = 0.0,
    python: Annotated[str, typer.Option(help="the script's interpreter; default: ours")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="change the script; `trimtab revert` puts it back")] = False,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Make a training script cheaper: try patches, verify each by running both, show the diff."""
    from trimtab.faces.cli import scripts

    found = scripts.Wish(script, tuple(arguments or ()), metric, goal, tolerance, budget, python)
    scripts.speedup(found, certificate, as_json=as_json, is_applied=apply)


@app.command(rich_help_panel=TRAINING)
def shrink(
    place: Place = HERE,
    target: Target = "",
    model: Annotated[str | None, typer.Option(help="today's, as 'file.py:function'; a torch module may be one")] = None,
    tolerance: Annotated[float | None, typer.Option(help="of the metric, in its own unit, that may be lost")] = None,
    requests: Annotated[float | None, typer.Option(help="a month; without, the cheapest prediction wins")] = None,
    budget: Annotated[float | None, typer.Option(help="CPU seconds of search")] = None,
    certificate: Certificate = None,
    as_json: AsJson = False,
    no_model: NoModel = False,
) -> None:
    """Find smaller models that are nearly as good; plot quality against what they cost; choose by your prices."""
    from trimtab.app import Terms
    from trimtab.faces.cli import scripts

    terms = Terms(model, tolerance, requests, budget)
    scripts.shrink(scripts.Table(place, target), terms, certificate, as_json=as_json, with_model=not no_model)


Where = Annotated[list[str] | None, typer.Option(help="such as 'auc >= 0.9' or 'status = done'; all must hold")]
Runs = Annotated[list[str], typer.Argument(help="numbers of runs, or the starts of them")]


@runs_app.command(DEFAULT_VERB, hidden=True)
def runs(
    where: Where = None,
    by: Annotated[str, typer.Option(help="order by a metric, a parameter, seconds, cpu_seconds, peak_bytes")] = "",
    ascending: Annotated[bool, typer.Option("--ascending", help="smallest first")] = False,
    limit: Annotated[int, typer.Option(help="at the most")] = 20,
    column: Annotated[list[str] | None, typer.Option(help="a metric or parameter to show; once for each")] = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """List the training runs of a folder, newest first."""
    from trimtab.faces.cli import running

    running.list_runs(
        folder, running.wanted(where or (), by, limit, ascending=ascending), column or (), as_json=as_json
    )


@runs_app.command("show")
def runs_show(run: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show one run, with notes written from its numbers."""
    from trimtab.faces.cli import running

    running.show_run(folder, run, as_json=as_json)


@runs_app.command("compare")
def runs_compare(run: Runs, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show in what runs differ."""
    from trimtab.faces.cli import running

    running.compare_runs(folder, run, as_json=as_json)


@runs_app.command("plot")
def runs_plot(
    run: Runs,
    to: Annotated[Path, typer.Option(help="the .html to write")],
    folder: Folder = HERE,
) -> None:
    """Plot the metrics and costs of runs on one page."""
    from trimtab.faces.cli import running

    running.plot_runs(folder, run, to)


@runs_app.command("prune")
def runs_prune(
    by: Annotated[str, typer.Option(help="the metric: its front with CPU time is kept")],
    goal: Annotated[str, typer.Option(help="min or max, where the metric's name does not say")] = "",
    newest: Annotated[int, typer.Option(help="of each name that are kept anyway")] = 1000,
    folder: Folder = HERE,
    apply: Annotated[
        bool, typer.Option("--apply", help="take them off the list; the ledger keeps what it has")
    ] = False,
) -> None:
    """Take old runs off the list that others beat in the metric and in cost."""
    from trimtab.faces.cli import running

    running.prune_runs(folder, by, goal, newest, is_applied=apply)


@runs_app.command("export")
def runs_export(
    to: Annotated[str, typer.Option(help="MLflow's address, such as http://localhost:5000 or sqlite:///mlflow.db")],
    experiment: Annotated[str, typer.Option(help="in MLflow")] = "trimtab",
    where: Where = None,
    limit: Annotated[int, typer.Option(help="at the most, the newest")] = 1000,
    folder: Folder = HERE,
) -> None:
    """Export runs to MLflow; a second time, only those that are not there yet."""
    from trimtab.faces.cli import running

    running.export_runs(folder, to, experiment, running.wanted(where or (), "", limit, ascending=False))

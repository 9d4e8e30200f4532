"""What `trimtab watch` shows: a line now and then or a live panel, JSON lines, OpenMetrics, and a summary."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from rich.live import Live
from rich.table import Table

from trimtab.adapters.gpus import unseen
from trimtab.core.errors import OutsideError, TargetError
from trimtab.faces.cli.printing import duration, err, print_json, size
from trimtab.stages.watch import Told, watch_command, watch_process
from trimtab.training.allocation.heard import Change
from trimtab.training.allocation.job import Moment, Orders

LINE_SECONDS = 60.0  # between two lines about a job whose label does not change
TAIL = 8  # lines of the job's output in the live panel


@dataclass(frozen=True)
class Shown:
    """How to show a job. log: where its output goes instead of the terminal."""

    is_live: bool = False
    log: Path | None = None
    stream: Path | None = None
    metrics_port: int | None = None
    as_json: bool = False


@dataclass(frozen=True)
class Wish:
    """What to watch: a command, or a process that runs; how."""

    command: tuple[str, ...]
    pid: int | None
    name: str
    folder: Path
    acts: bool
    niceness: int | None
    weight: int | None
    memory: int | None
    retries: int


def watch(wish: Wish, shown: Shown) -> int:
    """Watch to the end; returns the exit code for the shell. Raises InputError, TargetError, OutsideError."""
    with ExitStack() as stack:
        views: list[Callable[[Moment], None]] = []
        log = _opened(stack, shown.log) if shown.log is not None else None
        if shown.is_live and err.is_terminal:
            panel = stack.enter_context(_Panel(shown.log))
            views.append(panel.show)
        else:
            views.append(_Lines().show)
        if shown.stream is not None:
            views.append(_Stream(_opened(stack, shown.stream)).show)
        if shown.metrics_port is not None:
            views.append(_served(stack, shown.metrics_port).show)
        orders = Orders(
            wish.acts, wish.niceness, wish.weight, wish.memory, log, lambda moment: _each(views, moment), _say_change
        )
        told = _watched(wish, orders)
    if shown.as_json:
        print_json({"command": "watch", **_json(told)})
    else:
        err.print(summary(told))
    code = told.ended.exit_code
    return 0 if code is None else code if code >= 0 else 128 - code


def summary(told: Told) -> Table:
    """A job's end on a few lines."""
    ended, spent, heard = told.ended, told.ended.spent, told.ended.heard
    wall = max(spent.wall_seconds, 1e-9)
    table = Table.grid(padding=(0, 2))
    how = "" if ended.exit_code is None else f" with {ended.exit_code}"
    table.add_row("[bold]ended[/]", f"{told.run.name}{how} after {duration(spent.wall_seconds)}")
    waited = f", {duration(spent.run_delay_seconds)} of waiting for a core" if spent.run_delay_seconds > 0.1 else ""
    cores = f"{spent.cpu_seconds / wall:.2f} of {ended.cores:.3g} cores"
    table.add_row("CPU", f"{duration(spent.cpu_seconds)} ({cores}){waited}")
    table.add_row(
        "memory",
        f"{size(spent.peak_rss_bytes)} at its peak" if spent.peak_rss_bytes else "gone before it was looked at",
    )
    if spent.gpu_seconds:
        held = f"{spent.gpu_seconds / wall:.2f} held over {duration(spent.wall_seconds)}"
        table.add_row("GPUs", f"{held}, {size(spent.peak_gpu_bytes)} at the peak")
    elif unseen():
        table.add_row("GPUs", "not looked at: pip install 'trimtab[gpu]'")
    table.add_row("disk", f"{size(spent.read_bytes)} read, {size(spent.written_bytes)} written")
    for since, until, label in ended.labels:
        table.add_row(label.name, f"{since:.0f} to {until:.0f} s: {label.because}; try {label.advice}")
    for one in heard.changes:
        table.add_row("tried", one.line())
    if heard.metrics:
        table.add_row("metrics", ", ".join(f"{name} {value:.4g}" for name, value in heard.metrics.items()))
    if ended.is_too_large:
        table.add_row("[red]ended by us[/]", "it outgrew the memory it was given (--memory, --retries)")
    if ended.left_behind:
        table.add_row("left behind", f"{ended.left_behind} processes of the job live on")
    table.add_row("watching", f"{ended.looking_cpu / wall:.2%} of a core")
    table.add_row("run", f"{told.run.run} (trimtab runs show {told.run.run[:8]})")
    return table


def open_metrics(moment: Moment) -> str:
    """A moment in the OpenMetrics text format."""
    rows: list[tuple[str, str, str, float]] = [
        ("cpu_seconds", "counter", "_total", moment.cpu_seconds),
        ("wall_seconds", "counter", "_total", moment.seconds),
        ("resident_bytes", "gauge", "", moment.resident),
        ("peak_bytes", "gauge", "", moment.peak),
        ("steps", "counter", "_total", moment.done),
    ]
    if moment.left is not None:
        rows.append(("seconds_left", "gauge", "", moment.left.mid))
    if moment.signals is not None:
        for name in ("cores", "running", "waiting", "others", "idle", "blocked", "throttled"):
            rows.append((name, "gauge", "", float(getattr(moment.signals, name))))
        if moment.signals.gpu is not None:
            rows.append(("gpu_busy", "gauge", "", moment.signals.gpu))
            rows.append(("gpu_memory_bytes", "gauge", "", moment.signals.gpu_memory))
    lines = []
    for name, kind, suffix, value in rows:
        lines += [f"# TYPE trimtab_job_{name} {kind}", f"trimtab_job_{name}{suffix} {value:.10g}"]
    if moment.label is not None:
        lines += ["# TYPE trimtab_job_label gauge", f'trimtab_job_label{{label="{moment.label.name}"}} 1']
    for name, value in moment.metrics.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'trimtab_job_metric{{name="{quoted}"}} {value:.10g}')
    if moment.metrics:
        lines.insert(len(lines) - len(moment.metrics), "# TYPE trimtab_job_metric gauge")
    return "\n".join([*lines, "# EOF", ""])


class _Lines:
    """A line on standard error when the label changes, and once a minute."""

    def __init__(self) -> None:
        self._said, self._label = 0.0, ""

    def show(self, moment: Moment) -> None:
        name = moment.label.name if moment.label is not None else ""
        if not name or (name == self._label and moment.seconds - self._said < LINE_SECONDS):
            return
        self._said, self._label = moment.seconds, name
        err.print(f"trimtab: {_state(moment)}", markup=False, soft_wrap=True)


class _Panel:
    """A panel that changes in place; below it the last lines of the job's output, if they go to a file."""

    def __init__(self, log: Path | None) -> None:
        self._live = Live(console=err, refresh_per_second=4, transient=True)
        self._log = log

    def __enter__(self) -> _Panel:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        """The panel of this moment."""
        table = Table.grid(padding=(0, 2))
        table.add_row("[bold]running[/]", duration(moment.seconds))
        cores = f" of {moment.signals.cores:.3g} cores" if moment.signals is not None else ""
        running = f", {moment.signals.running:.2f}{cores} now" if moment.signals is not None else ""
        table.add_row("CPU", f"{duration(moment.cpu_seconds)}{running}")
        memory = f"{size(moment.resident)}, {size(moment.peak)} at its peak"
        if moment.memory is not None and moment.memory.mid > 1.01 * moment.peak:
            memory += f"; at the end {size(moment.memory.mid)} (up to {size(moment.memory.high)})"
        table.add_row("memory", memory)
        if moment.signals is not None and moment.signals.gpu is not None:
            table.add_row("GPUs", f"{moment.signals.gpu:.0%} busy, {size(moment.signals.gpu_memory)}")
        if moment.done:
            table.add_row("progress", _progress(moment))
        if moment.label is not None:
            table.add_row(moment.label.name, f"{moment.label.because}; try {moment.label.advice}")
        for name, value in list(moment.metrics.items())[-6:]:
            table.add_row(name, f"{value:.5g}")
        for line in _tail(self._log):
            table.add_row("[dim]│[/]", f"[dim]{line}[/]")
        self._live.update(table)


class _Stream:
    """Each moment as a JSON line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def show(self, moment: Moment) -> None:
        self._file.write(json.dumps({"schema": 1, **asdict(moment)}).encode() + b"\n")
        self._file.flush()


class _served:
    """The last moment on http://127.0.0.1:PORT/metrics."""

    def __init__(self, stack: ExitStack, port: int) -> None:
        self._text = "# EOF\n"
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer._text.encode()
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Not on the job's terminal."""

        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        except (OSError, OverflowError) as error:
            raise OutsideError(f"port {port} cannot be listened on: {error}", hint="--metrics-port 0") from None
        threading.Thread(target=server.serve_forever, daemon=True, name="trimtab-metrics").start()
        stack.callback(server.shutdown)
        err.print(f"trimtab: metrics on http://127.0.0.1:{server.server_port}/metrics", markup=False)

    def show(self, moment: Moment) -> None:
        self._text = open_metrics(moment)


def _watched(wish: Wish, orders: Orders) -> Told:
    if wish.pid is not None:
        return watch_process(wish.pid, replace(orders, memory=None), folder=wish.folder, name=wish.name)

    def say(text: str) -> None:
        err.print(f"trimtab: {text}", markup=False)

    return watch_command(
        wish.command, orders, folder=wish.folder, name=wish.name, retries=wish.retries, say=say
    )  # fmt: skip


def _each(views: list[Callable[[Moment], None]], moment: Moment) -> None:
    for view in list(views):
        try:
            view(moment)
        except OSError as error:  # a full disk or a closed pipe is no reason to leave the job alone
            views.remove(view)
            err.print(f"trimtab: one view of the job ends: {error}", markup=False)


def _say_change(change: Change) -> None:
    err.print(f"trimtab: {change.line()}", markup=False, soft_wrap=True)


def _state(moment: Moment) -> str:
    assert moment.label is not None
    progress = f", {_progress(moment)}" if moment.done else ""
    return f"{duration(moment.seconds)}: {moment.label.name}: {moment.label.because}{progress}"


def _progress(moment: Moment) -> str:
    if not moment.total:
        return f"{moment.done:,.0f} steps"
    left = ""
    if moment.left is not None:
        one = moment.left
        left = f", {duration(one.mid)} left ({duration(one.low)} to {duration(one.high)})"
    return f"{moment.done:,.0f} of {moment.total:,.0f}{left}"


def _tail(log: Path | None) -> list[str]:
    if log is None:
        return []
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return [one[:140].replace("[", "\\[") for one in lines[-TAIL:]]


def _opened(stack: ExitStack, path: Path) -> IO[bytes]:
    try:
        return stack.enter_context(path.open("wb"))
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from None


def _json(told: Told) -> dict[str, Any]:
    ended = told.ended
    return {
        "run": told.run.run,
        "exit_code": ended.exit_code,
        "spent": asdict(ended.spent),
        "labels": [
            {"from": since, "until": until, "label": one.name, "because": one.because, "advice": one.advice}
            for since, until, one in ended.labels
        ],
        "changes": [asdict(one) for one in ended.heard.changes],
        "parameters": ended.heard.parameters,
        "metrics": dict(told.run.metrics),
        "watching_share_of_a_core": ended.looking_cpu / max(ended.spent.wall_seconds, 1e-9),
        "is_too_large": ended.is_too_large,
    }

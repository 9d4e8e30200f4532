"""schedule: the simulator against closed forms and plain ones, what policies may do, what is learnt of durations."""

from __future__ import annotations

import heapq
import json
import subprocess
import sys
from dataclasses import replace
from math import factorial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.cluster.objects import objects
from trimtab.adapters.programs import compile_program
from trimtab.cluster.scheduling import policies
from trimtab.cluster.scheduling.cluster import Cluster, Group, read_cluster
from trimtab.cluster.scheduling.durations import BINS, EDGES, predict
from trimtab.cluster.scheduling.joblog import JobLog, read_jobs
from trimtab.cluster.scheduling.jobs import EVICTED, FINISH, FIRST, PREDICTED, SUBMIT
from trimtab.cluster.scheduling.measure import History, foresight, keep_predictions, replayed, table_of
from trimtab.cluster.scheduling.plan import CLASSICAL, LIBRARY, SchedulingPlan
from trimtab.cluster.scheduling.priority import HOLD, PRIORITY
from trimtab.cluster.scheduling.problem import CAPABILITY, Scheduling, library
from trimtab.cluster.scheduling.simulator import run_jobs
from trimtab.core.budget import Meter
from trimtab.core.errors import InputError
from trimtab.core.loop import optimize
from trimtab.core.model import Sample
from trimtab.faces.cli.main import app
from trimtab.faces.plots import svg
from trimtab.proposers.evolve import Evolve
from trimtab.proposers.portfolio import Portfolio
from trimtab.proposers.rules import Rules
from trimtab.testing import MemoryLedger

STRICT, SKIP, EASY = 0.0, 1.0, 2.0


def log_of(submit, duration, gpus=None, **words) -> JobLog:
    submit, duration = np.asarray(submit, float), np.asarray(duration, float)
    gpus = np.ones(len(submit), np.int64) if gpus is None else np.asarray(gpus, np.int64)
    coded = {}
    for word, values in words.items():
        names, codes = np.unique(values, return_inverse=True)
        coded[word] = (codes.astype(np.int64), tuple(str(name) for name in names))
    return JobLog(submit, duration, gpus, submit + duration, coded, 0.0, ())


def run(log: JobLog, cluster: Cluster, program: str, order: float = SKIP, **options):
    """(floats, integers, segments) of all jobs; predictions are the truth."""
    given = {"preempts": 0.0, "review": 0.0, "restart": 0.0, "most": 16.0, "clairvoyant": 1.0, "ages": 0.0} | options
    floats, ints, classes, quotas = table_of(log, slice(0, len(log)), cluster)
    floats[:, PREDICTED] = log.duration
    # Work left by work done: a line from the duration downwards.
    looks = np.stack([log.duration, log.duration - 1000], axis=1).astype(np.float32)[None].repeat(2, axis=0)
    groups, speeds = cluster.table()
    segments = np.zeros((40 * len(log) + 10, 4))
    setting = np.array([order, *(float(one) for one in given.values()), 1.0])
    policy = compile_program(program, PRIORITY)
    clock = run_jobs(
        (floats, ints, classes),
        (looks, np.array([0.0, 1000.0])),
        (groups, speeds, quotas),
        setting,
        segments,
        policy,
    )
    return floats, ints, segments[: int(clock[5])]


def pool(gpus: int) -> Cluster:
    return Cluster((Group("pool", 1, gpus),))


def rule(body: str) -> str:
    return f"{PRIORITY.head}\n    {body}\n"


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 0.8), (16, 0.8)])
def test_waits_in_a_queue_of_random_jobs_are_those_of_erlang_c(servers: int, load: float) -> None:
    rng, count = np.random.default_rng(1), 400_000
    log = log_of(np.cumsum(rng.exponential(1 / (load * servers), count)), rng.exponential(1.0, count))
    made, _, _ = run(log, pool(servers), policies.FIFO, STRICT)
    offered = load * servers
    top = offered**servers / factorial(servers) / (1 - load)
    waits = top / (sum(offered**n / factorial(n) for n in range(servers)) + top)
    assert (made[:, FIRST] - made[:, SUBMIT]).mean() == pytest.approx(waits / (servers * (1 - load)), rel=0.06)


def test_waits_behind_jobs_that_all_last_as_long_are_those_of_pollaczek_and_khinchine() -> None:
    rng, load = np.random.default_rng(2), 0.8
    log = log_of(np.cumsum(rng.exponential(1 / load, 300_000)), np.ones(300_000))
    made, _, _ = run(log, pool(1), policies.FIFO, STRICT)
    assert (made[:, FIRST] - made[:, SUBMIT]).mean() == pytest.approx(load / (2 * (1 - load)), rel=0.04)


def shortest_remaining(submit: np.ndarray, work: np.ndarray) -> float:
    """The mean time in the system on one machine, by a plain event loop."""
    left, waiting, at, now, total = work.copy(), [], 0, 0.0, 0.0
    while at < len(submit) or waiting:
        if not waiting:
            now = max(now, submit[at])
        while at < len(submit) and submit[at] <= now:
            heapq.heappush(waiting, (left[at], at))
            at += 1
        _, job = heapq.heappop(waiting)
        until = min(now + left[job], submit[at] if at < len(submit) else np.inf)
        left[job] -= until - now
        now = until
        if left[job] <= 1e-9:
            total += now - submit[job]
        else:
            heapq.heappush(waiting, (left[job], job))
    return total / len(submit)


def test_foresight_on_one_machine_is_shortest_remaining_time_first() -> None:
    rng = np.random.default_rng(3)
    submit, work = np.cumsum(rng.exponential(1.2, 4000)), rng.lognormal(-0.5, 1.0, 4000)
    made, ints, _ = run(log_of(submit, work), pool(1), rule("return left * gpus"), preempts=1, most=np.inf)
    assert (made[:, FINISH] - made[:, SUBMIT]).mean() == pytest.approx(shortest_remaining(submit, work), rel=1e-6)
    assert ints[:, EVICTED].sum() > 100


def gangs(seed: int, count: int = 800) -> JobLog:
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 4, 8, 16], count, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    tenants = rng.choice(["a", "b"], count)
    return log_of(np.cumsum(rng.exponential(40, count)), rng.lognormal(5, 1.3, count), sizes, tenant=tenants)


@pytest.mark.parametrize("name", [*CLASSICAL, *LIBRARY])
def test_no_gpu_is_used_twice_and_all_work_is_done(name: str) -> None:
    log, cluster = gangs(4), Cluster((Group("small", 6, 4), Group("large", 3, 8)))
    plan = {**CLASSICAL, **LIBRARY}[name]
    order = {"strict": STRICT, "skip": SKIP, "easy": EASY}[plan.order]
    made, ints, segments = run(
        log, cluster, plan.program, order, preempts=plan.preempts, review=300.0, restart=30.0, ages=1.0
    )
    assert np.isfinite(made[:, FINISH]).all()
    jobs = segments[:, 0].astype(int)
    ran = np.bincount(jobs, weights=segments[:, 2] - segments[:, 1])
    # A restart costs 30 s, or less when the job was preempted again before they were over.
    assert (ran >= log.duration - 1e-6).all()
    assert (ran <= log.duration + 30.0 * ints[:, EVICTED] + 1e-6).all()
    for group, one in enumerate(cluster.groups):
        mine = segments[segments[:, 3] == group]
        sizes = log.gpus[mine[:, 0].astype(int)]
        sizes = np.where(sizes >= one.gpus, -(-sizes // one.gpus) * one.gpus, sizes)
        moments = np.concatenate([mine[:, 1], mine[:, 2]])
        order_of = np.lexsort((np.repeat([1, 0], len(mine)), moments))  # at one moment, ends come first
        used = np.cumsum(np.concatenate([sizes, -sizes])[order_of])
        assert used.max() <= one.nodes * one.gpus


def test_who_waits_for_whole_nodes_is_not_passed_by_long_jobs_with_easy_backfill() -> None:
    log = log_of([0, 1, 2, 3], [100, 50, 99, 60], [1, 2, 1, 1])
    strict, _, _ = run(log, pool(2), policies.FIFO, STRICT)
    easy, _, _ = run(log, pool(2), policies.FIFO, EASY)
    skip, _, _ = run(log, pool(2), policies.FIFO, SKIP)
    assert strict[:, FIRST].tolist() == [0, 100, 150, 150]
    # The third would end after the second can begin; the fourth does not.
    assert easy[:, FIRST].tolist() == [0, 100, 150, 3]
    assert skip[:, FIRST].tolist() == [0, 160, 2, 100]


def test_backfilled_jobs_leave_the_nodes_that_the_first_will_get() -> None:
    # Two nodes of four: a job of eight waits for both until 100; a long one of one GPU would take a node from it.
    cluster = Cluster((Group("nodes", 2, 4), Group("spare", 1, 1)))
    log = log_of([0, 1, 2, 3], [100, 10, 500, 90], [4, 8, 2, 2])
    easy, _, _ = run(log, cluster, policies.FIFO, EASY)
    assert easy[1, FIRST] == 100
    assert easy[2, FIRST] >= 110
    assert easy[3, FIRST] == 3


def test_a_tenant_never_has_more_than_its_quota() -> None:
    log = gangs(5)
    log = replace(log, gpus=np.minimum(log.gpus, 8))
    cluster = replace(pool(64), quotas=(("a", 9),))
    made, _, segments = run(log, cluster, policies.FIFO)
    is_a = log.codes("tenant") == 0
    mine = segments[is_a[segments[:, 0].astype(int)]]
    sizes = log.gpus[mine[:, 0].astype(int)]
    moments, changes = np.concatenate([mine[:, 1], mine[:, 2]]), np.concatenate([sizes, -sizes])
    used = np.cumsum(changes[np.lexsort((changes > 0, moments))])
    assert 8 <= used.max() <= 9
    waited = made[:, FIRST] - made[:, SUBMIT]
    assert waited[is_a].mean() > 10 * waited[~is_a].mean()


def test_jobs_run_on_the_nodes_that_they_ask_for_at_their_speed() -> None:
    cluster = Cluster((Group("slow", 2, 4, speed=0.5), Group("fast", 2, 4, speed=2.0)))
    log = log_of([0, 0, 0], [100, 100, 100], [4, 4, 4], gpu_type=["slow", "fast", "fast"])
    made, _, segments = run(log, cluster, policies.FIFO)
    assert made[:, FINISH].tolist() == [200, 50, 50]
    assert {int(job): int(group) for job, _, _, group in segments} == {0: 0, 1: 1, 2: 1}


def test_what_a_program_holds_back_is_asked_about_again() -> None:
    program = rule(f"return {HOLD:.0f} if left > 50 and waited < 60 else 0")
    log = log_of([0, 1, 2], [300, 100, 10])
    made, _, _ = run(log, pool(3), program, ages=1, review=30.0)
    # The first may not be held: nothing else runs. The second waits for a minute, looked at every half.
    assert made[:, FIRST].tolist() == [0, 90, 2]
    always, _, _ = run(log, pool(3), rule(f"return {HOLD:.0f}"), review=30.0)
    assert always[:, FIRST].tolist() == [0, 300, 400]


def test_a_restart_is_paid_for_and_nobody_is_preempted_more_often_than_allowed() -> None:
    log = log_of([0, 10, 20, 30], [100, 5, 5, 5])
    program = rule("return left")
    made, ints, _ = run(log, pool(1), program, preempts=1, restart=7.0)
    assert ints[:, EVICTED].tolist() == [3, 0, 0, 0]
    assert (
        made[0, FINISH] == 132
    )  # done 10 s by 10; its first two restarts, at 15 and 25, are cut short; 90 s from 42 on
    made, ints, _ = run(log, pool(1), program, preempts=1, restart=7.0, most=1)
    assert ints[:, EVICTED].tolist() == [1, 0, 0, 0]


def tenants_log(count: int = 4000, seed: int = 0) -> JobLog:
    """Two tenants: one's jobs take a minute, the other's three hours, give or take a half."""
    rng = np.random.default_rng(seed)
    slow = rng.random(count) < 0.2
    seconds = np.where(slow, 10_800.0, 60.0) * rng.lognormal(0, 0.4, count)
    tenant = np.where(slow, "slow", "quick")
    return log_of(np.cumsum(rng.exponential(120, count)), seconds, tenant=tenant)


def test_durations_are_learnt_from_those_that_are_alike() -> None:
    log = tenants_log()
    found = predict(log, slice(2000, 4000), log.ended)
    is_slow = log.codes("tenant")[2000:] == 1
    assert np.median(found.median[is_slow] / log.duration[2000:][is_slow]) == pytest.approx(1.0, abs=0.25)
    assert np.median(found.median[~is_slow] / log.duration[2000:][~is_slow]) == pytest.approx(1.0, abs=0.25)
    # A quick job that has run for an hour is none: what is left of it is as long again, or longer.
    hour = int(np.searchsorted(EDGES, 3600.0))
    assert (found.looks[0][~is_slow][:, hour] > 1800).mean() > 0.95
    assert (
        found.looks[1] <= found.looks[0] + 1e-3 * found.looks[0] + 1
    ).all()  # the best stop is no worse than the end
    assert found.looks.shape == (2, 2000, BINS + 1)


def test_predictions_know_only_jobs_that_had_ended() -> None:
    log = tenants_log(1500)
    cut = float(log.submit[1000])
    later = log.duration.copy()
    later[log.ended > cut] = 7.0  # as if all that runs or comes later were short
    before, after = (
        predict(replace(log, duration=one), slice(600, 1000), log.ended).looks for one in (log.duration, later)
    )
    assert np.array_equal(before, after)


def file_of(log: JobLog, folder: Path) -> str:
    codes, names = log.words["tenant"]
    rows = zip(log.submit, log.duration, log.gpus, codes, strict=True)
    lines = [f"{submit:.2f},{seconds:.2f},{gpus},{names[code]}" for submit, seconds, gpus, code in rows]
    to = folder / "jobs.csv"
    to.write_text("submit_s,duration_s,num_gpus,tenant\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(to)


def test_the_loop_finds_a_policy_that_is_better_than_the_usual_ones_on_the_unseen_half(tmp_path: Path) -> None:
    history = History(file_of(tenants_log(3000, 1), tmp_path), replace(pool(20), current="easy"))
    problem = Scheduling(replace(history, made=str(tmp_path / "made.npz")))
    keep_predictions(history, tmp_path / "made.npz")
    decision = optimize(
        problem,
        Portfolio(Rules("library", library), search=Evolve()),
        search=Meter(cpu_seconds=6),
        check=Meter(),
        ledger=MemoryLedger(),
    )
    assert decision.winner is not None
    made = problem.replays({**problem.baselines(), "chosen": decision.winner.proposal.plan})
    hours = {name: one.taken.mean() for name, one in made.items()}
    assert hours["foresight"] <= min(hours.values()) * 1.02
    assert hours["chosen"] <= min(hours[name] for name in problem.baselines()) * 1.02
    assert hours["chosen"] < 0.9 * hours["current"]


def test_where_preemption_is_not_allowed_nobody_is_preempted(tmp_path: Path) -> None:
    cluster = replace(pool(24), preemption=False)
    problem = Scheduling(History(file_of(tenants_log(1200, 2), tmp_path), cluster))
    assert not {"srsf", "las", "tiresias-las"} & set(problem.baselines())
    plan = SchedulingPlan(policies.GITTINS, "skip", preempts=True)
    assert problem.measure(plan, Sample("search", 0)).metrics["preemptions"] == 0


def test_foresight_is_the_floor_on_every_half(tmp_path: Path) -> None:
    problem = CAPABILITY.sample(tmp_path, 3)
    for half in ("search", "holdout"):
        best = foresight(problem.history, half).taken.mean()
        for plan in (*CLASSICAL.values(), *LIBRARY.values()):
            assert replayed(problem.history, plan, half).taken.mean() >= 0.98 * best


def test_jobs_and_ends_come_back_in_order(tmp_path: Path) -> None:
    log = read_jobs(file_of(tenants_log(900), tmp_path))
    made = replayed(History(file_of(tenants_log(900), tmp_path), pool(8)), CLASSICAL["fifo"], "search", segments=10_000)
    assert len(log) == 900
    assert (np.diff(made.first) >= 0).all()
    assert len(made.segments) == len(made.taken)


def refused(folder: Path, text: str, head: str = "submit_s,duration_s,num_gpus,tenant,job_id") -> str:
    (folder / "jobs.csv").write_text(head + "\n" + text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_jobs(str(folder / "jobs.csv"))
    return str(error.value)


def rows(count: int = 500, **changed: str) -> str:
    lines = [[str(300 * at), "60", "1", "t", str(at)] for at in range(count)]
    for place, value in changed.items():
        row, column = (int(one) for one in place[1:].split("_"))
        lines[row][column] = value
    return "\n".join(",".join(line) for line in lines) + "\n"


def test_job_logs_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    assert "negative" in refused(tmp_path, rows(r7_1="-5"))
    assert "row 9" in refused(tmp_path, rows(r7_1="-5"))
    assert "ids occur twice" in refused(tmp_path, rows(r7_4="3"))
    assert "10 jobs that ran" in refused(tmp_path, rows(10))
    assert "no column of submission times" in refused(tmp_path, rows(), head="when,duration_s,num_gpus,tenant,job_id")
    assert "no durations" in refused(tmp_path, rows(), head="submit_s,took,num_gpus,tenant,job_id")
    assert "holds no times" in refused(tmp_path, rows(r7_0="yesterday"))
    assert "holds no numbers" in refused(tmp_path, rows(r7_1="1h"))
    zones = rows(r7_0="2026-01-01T00:00:00Z", r8_0="2026-01-01 00:05:00")
    assert "holds no times" in refused(tmp_path, zones)
    early = "\n".join(f"{300 * at},{300 * at - 60},{300 * at + 60},1" for at in range(500))
    assert "before they are submitted" in refused(tmp_path, early, head="submit,start,end,gpus")


def test_what_did_not_run_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("submit_s,duration_s,num_gpus,colour\n" + "".join(
        f"{300 * at},{0 if at % 10 == 0 else 60},1,red\n" for at in range(600)
    ))  # fmt: skip
    log = read_jobs(str(tmp_path / "jobs.csv"))
    assert len(log) == 540
    assert [(kind, column) for kind, column, _ in log.findings] == [("left out", "duration_s"), ("ignored", "colour")]


def test_slurms_accounting_is_read_without_steps(tmp_path: Path) -> None:
    lines = ["JobID|User|Account|JobName|Submit|Start|End|State|ReqTRES|"]
    for at in range(500):
        day, hour = 1 + at // 100, at % 24
        times = (
            f"2026-03-{day:02d}T{hour:02d}:00:00|2026-03-{day:02d}T{hour:02d}:10:00|2026-03-{day:02d}T{hour:02d}:40:00"
        )
        lines.append(f"{at}|ann|vision|train|{times}|COMPLETED|billing=8,cpu=8,gres/gpu:a100=4,gres/gpu=4,mem=64G|")
        lines.append(f"{at}.batch||vision|batch|{times}|COMPLETED||")
    lines.append("900|bob|text|wait|2026-03-01T00:00:00|Unknown|Unknown|PENDING|cpu=1|")
    (tmp_path / "sacct.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = read_jobs(str(tmp_path / "sacct.txt"))
    assert len(log) == 500
    assert set(log.gpus.tolist()) == {4}
    assert set(log.duration.tolist()) == {1800.0}
    codes, names = log.words["gpu_type"]
    assert {names[code] for code in codes} == {"a100"}
    assert log.words["user"][1][0] == "ann"
    assert (log.ended - log.submit == 2400).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "groups of nodes"),
        ("[[nodes]]\ncount = 2", "needs count and gpus"),
        ("[[nodes]]\ngpus = 8\ncores = 4", "unknown key nodes\\[0\\].cores"),
        ("[[nodes]]\ngpus = '8'", "nodes\\[0\\].gpus is '8'"),
        ("[[nodes]]\ngpus = 8\n[scheduler]\ncurrent = 'slurm'", "scheduler.current is 'slurm'"),
        ("[[nodes]]\ngpus = 8\n[scheduler]\nrestart_seconds = -1", "negative"),
        ("[[nodes]]\ngpus = 8\n[quotas]\na = 'x'", "quotas"),
        ("nodes = 3", "groups of nodes"),
        ("[[nodes", "no TOML"),
    ],
)
def test_clusters_that_make_no_sense_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_cluster(tmp_path / "cluster.toml", tuple(CLASSICAL))


def test_jobs_that_fit_nowhere_are_left_out_when_few_and_refused_when_many(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("submit_s,duration_s,num_gpus\n" + "".join(
        f"{300 * at},60,{64 if at == 5 else 1}\n" for at in range(600)
    ))  # fmt: skip
    history = History(str(tmp_path / "few.csv"), pool(8))
    assert (len(history.log), history.unfit) == (599, 1)
    (tmp_path / "many.csv").write_text("submit_s,duration_s,num_gpus\n" + "".join(
        f"{300 * at},60,{64 if at % 5 == 0 else 1}\n" for at in range(600)
    ))  # fmt: skip
    with pytest.raises(InputError, match="120 of 600 jobs"):
        len(History(str(tmp_path / "many.csv"), pool(8)).log)


def test_the_command_says_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(tenants_log(1500, 3), tmp_path)
    (tmp_path / "cluster.toml").write_text(
        "[[nodes]]\ncount = 5\ngpus = 4\ndollars_per_gpu_hour = 2\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_MODEL", "none")
    runner = CliRunner()
    options = [
        "--budget",
        "3",
        "--save",
        "policy.py",
        "--certificate",
        "evidence.html",
        "--manifests",
        "kueue",
        "--json",
    ]
    made = runner.invoke(app, ["schedule", "jobs.csv", *options])
    assert made.exit_code == 0, made.output
    found = json.loads(made.output)
    assert found["facts"]["to_foresight"]["chosen"] >= 0.98
    assert (tmp_path / "policy.py").read_text().startswith("def priority(")
    assert objects((tmp_path / "kueue" / "kueue-queues.yaml").read_text(encoding="utf-8"))
    page = (tmp_path / "evidence.html").read_text(encoding="utf-8")
    for one in ("jobs.csv, cluster.toml", "preemptions: at most 1.5", "events, the last one hashes to", "Gantt"):
        assert one in page
    gantt = found["facts"]["plots"][1]
    assert gantt["kind"] == "gantt"
    assert ElementTree.fromstring(svg(gantt)).tag == "figure"
    assert all(row["from"] <= row["runs"][0][0] <= row["runs"][-1][1] <= row["until"] + 1e-6 for row in gantt["rows"])
    command = [str(Path(sys.executable).with_name("trimtab")), "schedule", "jobs.csv", "--cluster", "none.toml"]
    wrong = subprocess.run(command, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "none.toml cannot be read" in wrong.stderr

"""Slurm's accounting: what `sacct` of 22.05 wrote about real jobs, and a Slurm on this machine where it is asked for.

The second: apt install slurm-wlm slurmdbd munge mariadb-server; then, as root, TRIMTAB_SLURM=1 pytest -m slurm
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab.cluster.scheduling.joblog import read_jobs
from trimtab.cluster.scheduling.sacct import is_sacct, read_sacct
from trimtab.core.errors import InputError

HEAD = "JobID|JobName|User|Account|Submit|Start|End|Elapsed|State|ReqTRES|AllocTRES"
DAY = "2026-11-26T"
ROWS = [
    f"1|one|ann|research|{DAY}08:58:47|{DAY}08:59:32|{DAY}08:59:34|00:00:02|COMPLETED|"
    "billing=1,cpu=1,gres/gpu:tesla=1,gres/gpu=1,mem=1M,node=1|billing=1,cpu=1,gres/gpu:tesla=1,gres/gpu=1,node=1",
    f"1.batch|batch||research|{DAY}08:59:32|{DAY}08:59:32|{DAY}08:59:34|00:00:02|COMPLETED||cpu=1,gres/gpu=1,node=1",
    f"4|step|ann|root|{DAY}08:58:47|{DAY}08:59:38|{DAY}08:59:42|00:00:04|FAILED|billing=1,cpu=1|billing=1,cpu=1",
    f"4.0|sleep||root|{DAY}08:59:38|{DAY}08:59:38|{DAY}08:59:39|00:00:01|COMPLETED||cpu=1,mem=0,node=1",
    f"5|cancelled|bob|root|{DAY}08:58:47|None|{DAY}08:59:11|00:00:00|CANCELLED by 0|billing=1,cpu=1,gres/gpu=2|",
    f"3_1|array|bob|root|{DAY}08:58:47|{DAY}08:59:35|{DAY}08:59:37|00:00:02|COMPLETED|cpu=1,gres/gpu=4|cpu=1,gres/gpu=4",
    f"3_[2-9]|array|bob|root|{DAY}08:58:47|Unknown|Unknown|00:00:00|PENDING|cpu=1,gres/gpu=4|",
    f"9|runs|bob|root|{DAY}08:59:50|{DAY}08:59:51|Unknown|1-02:03:04|RUNNING|cpu=1,gres/gpu=1|cpu=1,gres/gpu=1",
]


def written(folder: Path, head: str, rows: list[str]) -> Path:
    to = folder / "sacct.txt"
    to.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return to


def test_steps_are_left_out_and_gpus_are_counted_once(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD, ROWS)
    assert is_sacct(file)
    found = read_sacct(file).to_pydict()
    assert found["id"] == ["1", "4", "5", "3_1", "3_[2-9]", "9"]
    assert found["gpus"] == [1, 0, 0, 4, 0, 1]  # what was never allocated counts for nothing
    assert found["tenant"] == ["research", "root", "root", "root", "root", "root"]
    assert [one is None for one in found["start"]] == [False, False, True, False, True, False]
    assert [one is None for one in found["end"]] == [False, False, False, False, True, True]


def test_trailing_bars_and_elapsed_times_are_read_too(tmp_path: Path) -> None:
    head = "JobIDRaw|JobID|Submit|Start|Elapsed|State|ReqTRES|"
    spans = ["1-02:03:04", "00:00:30", "10:00", "2-00:00:00"]
    rows = [
        f"{place}|{place}|{DAY}01:00:00|{DAY}02:00:00|{span}|COMPLETED|gres/gpu:a100=2|"
        for place, span in enumerate(spans)
    ]
    rows.append(f"7|7|{DAY}01:00:00|Unknown|00:00:00|PENDING|gres/gpu=2|")
    rows.append(f"8|8|{DAY}01:00:00|{DAY}02:00:00|00:00:30|RUNNING|gres/gpu=2|")
    found = read_sacct(written(tmp_path, head, rows)).to_pydict()
    assert found["duration"] == [93_784.0, 30.0, 600.0, 172_800.0, None, None]  # one waits, one still runs
    assert found["gpus"] == [2] * 6
    assert found["gpu_type"] == ["a100"] * 4 + [""] * 2


def test_how_long_jobs_ran_says_nothing_without_their_end_or_state(tmp_path: Path) -> None:
    file = written(tmp_path, "JobID|Submit|Start|Elapsed", [f"1|{DAY}01:00:00|{DAY}02:00:00|00:00:30"])
    with pytest.raises(InputError, match="sacct's State is not there"):
        read_sacct(file)


def test_a_log_of_seconds_and_of_a_job_twice(tmp_path: Path) -> None:
    """SLURM_TIME_FORMAT=%s writes seconds; `sacct --duplicates` writes requeued jobs once for each attempt."""
    head = "JobID|Submit|Start|End|ReqTRES"
    rows = [f"{job}|{1_795_683_527 + 300 * job}|{1_795_683_537 + 300 * job}|{1_795_683_937 + 300 * job}|gres/gpu=1"
            for job in range(500)]  # fmt: skip
    log = read_jobs(str(written(tmp_path, head, [*rows, "777|1795683527|Unknown|Unknown|gres/gpu=1"])), "seconds")
    assert len(log) == 500
    assert set(log.duration) == {400.0}
    with pytest.raises(InputError, match="1 ids occur twice"):
        read_jobs(str(written(tmp_path, head, [*rows, rows[0]])), "twice")
    with pytest.raises(InputError, match="End is not there"):
        read_sacct(written(tmp_path, "JobID|Submit|Start", ["1|1|2"]))


# A Slurm on this machine.


def free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in opened]
    for one in opened:
        one.close()
    return ports


def until(is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


class Slurm:
    """munged, mariadbd, slurmdbd, slurmctld and slurmd in a folder, on the loopback, with two GPUs that are files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.host = folder, socket.gethostname().split(".")[0]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "TZ": "UTC"}
        self.ports = dict(zip(("db", "dbd", "ctld", "slurmd"), free_ports(4), strict=True))
        self.started: list[subprocess.Popen[bytes]] = []
        for name in ("spool", "state", "gpu0", "gpu1"):
            (folder / name).mkdir() if name in ("spool", "state") else (folder / name).touch()

    def start(self) -> None:
        at = self.folder
        folder, key = str(at), at / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._run("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={at}/munge",
                  f"--pid-file={at}/pid", f"--log-file={at}/munge.log", f"--seed-file={at}/seed")  # fmt: skip
        plain = ["--no-defaults", "--user=root", f"--datadir={at}/db"]
        self.call("mariadb-install-db", *plain, "--auth-root-authentication-method=normal")
        self._run("mariadbd", *plain, f"--socket={at}/db.sock", f"--port={self.ports['db']}",
                  "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M", f"--pid-file={at}/db.pid")  # fmt: skip
        sql = ["mariadb", "--no-defaults", "-uroot", f"--socket={at}/db.sock", "-e"]
        until(lambda: subprocess.run([*sql, "select 1"], capture_output=True).returncode == 0, "the database")
        self.call(*sql, "".join(
            f"create user slurm@'{one}' identified by 'x'; grant all on slurm.* to slurm@'{one}';"
            for one in ("127.0.0.1", "localhost")
        ))  # fmt: skip
        self._configure(folder)
        self._run("slurmdbd", "-D")
        add = ["sacctmgr", "-i", "add"]
        until(lambda: self.tried(*add, "cluster", "try"), "slurmdbd")
        self.call(*add, "account", "research", "Description=x", "Organization=x")
        self.call(*add, "user", "root", "Account=research")
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D", "-N", self.host)
        until(lambda: "idle" in self.call("sinfo", "-h", "-o", "%T"), "a node")

    def _configure(self, folder: str) -> None:
        ports, host = self.ports, self.host
        dbd = {
            "AuthType": "auth/munge", "AuthInfo": f"socket={folder}/munge", "DbdHost": "localhost",
            "DbdPort": ports["dbd"], "SlurmUser": "root", "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1", "StoragePort": ports["db"], "StorageUser": "slurm", "StoragePass": "x",
            "StorageLoc": "slurm", "LogFile": f"{folder}/dbd.log", "PidFile": f"{folder}/dbd.pid",
        }  # fmt: skip
        slurm = {
            "ClusterName": "try", "SlurmctldHost": f"{host}(127.0.0.1)", "SlurmUser": "root", "SlurmdUser": "root",
            "AuthType": "auth/munge", "AuthInfo": f"socket={folder}/munge", "SlurmctldPort": ports["ctld"],
            "SlurmdPort": ports["slurmd"], "StateSaveLocation": f"{folder}/state", "SlurmdSpoolDir": f"{folder}/spool",
            "SlurmctldPidFile": f"{folder}/ctld.pid", "SlurmdPidFile": f"{folder}/slurmd.pid",
            "ProctrackType": "proctrack/pgid", "TaskPlugin": "task/none", "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core", "MpiDefault": "none", "ReturnToService": 2, "MailProg": "/bin/true",
            "AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageHost": "localhost",
            "AccountingStoragePort": ports["dbd"], "AccountingStoragePass": f"{folder}/munge",
            "AccountingStorageTRES": "gres/gpu,gres/gpu:tesla", "JobAcctGatherType": "jobacct_gather/none",
            "GresTypes": "gpu", "NodeName": f"{host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:tesla:2 State=UNKNOWN",
            "PartitionName": "main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        }  # fmt: skip
        for name, values in (("slurmdbd.conf", dbd), ("slurm.conf", slurm)):
            (self.folder / name).write_text("".join(f"{key}={value}\n" for key, value in values.items()))
            (self.folder / name).chmod(0o600)
        gres = f"NodeName={host} Name=gpu Type=tesla File={folder}/gpu[0-1]\n"
        (self.folder / "gres.conf").write_text(gres)

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=60).returncode == 0

    def _run(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            made = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        self.started.append(made)

    def stop(self) -> None:
        for one in reversed(self.started):
            one.terminate()
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    missing = [one for one in ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd") if not shutil.which(one)]
    if not os.environ.get("TRIMTAB_SLURM") or missing or os.geteuid() != 0:
        pytest.skip("set TRIMTAB_SLURM=1 as root, with Debian's slurm-wlm, slurmdbd, munge and mariadb-server")
    folder = Path(f"/tmp/trimtab-slurm-{os.getpid()}")  # munged refuses folders that others may write, as pytest's are
    folder.mkdir(mode=0o755)
    made = Slurm(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slurm
def test_a_real_slurm_tells_of_its_jobs(slurm: Slurm, tmp_path: Path) -> None:
    batch = ["sbatch", "--parsable", "-o", "/dev/null"]
    ran = slurm.call(*batch, "-A", "research", "-J", "trains", "--gres=gpu:tesla:2", "--wrap", "srun sleep 12").strip()
    waits = slurm.call(*batch, "--gres=gpu:2", "--wrap", "sleep 100").strip()  # there is no GPU left for it
    slurm.call("scancel", waits)
    array = slurm.call(*batch, "--array=0-1", "--gres=gpu:1", "--wrap", "sleep 1").strip()
    until(lambda: not slurm.call("squeue", "-h").strip(), "the jobs")
    shown = "JobID,JobName,User,Account,Submit,Start,End,State,ReqTRES,AllocTRES"
    file = tmp_path / "sacct.txt"
    ends: list[int] = []

    def told() -> bool:  # the accounting comes a little after the queue
        file.write_text(slurm.call("sacct", "--allusers", "--parsable2", f"--format={shown}"), encoding="utf-8")
        ends[:] = [one for one in read_sacct(file)["end"].to_pylist() if one]
        return len(ends) == 4

    until(told, "the accounting")
    found = read_sacct(file).to_pydict()
    jobs = {one: place for place, one in enumerate(found["id"])}
    assert set(jobs) == {waits, ran, f"{array}_0", f"{array}_1"}
    never = jobs[waits]  # depending on when it is cancelled Slurm gives no start, or that of its end
    assert found["start"][never] in (None, found["end"][never])
    assert [found["gpus"][jobs[one]] for one in (ran, f"{array}_0")] == [2, 1]
    assert (found["tenant"][jobs[ran]], found["name"][jobs[ran]]) == ("research", "trains")
    assert 12 <= (found["end"][jobs[ran]] - found["start"][jobs[ran]]).total_seconds() < 60
    with pytest.raises(InputError, match="3 jobs that ran"):
        read_jobs(str(file), "slurm")

"""What a profile costs, against decoding the same file alone and against describing the frame; memory; exactness.

python benchmarks/monitoring/profile.py [--rows 1000000] [--many 10000000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import ks_2samp

from trimtab.adapters.meters import host
from trimtab.monitoring.profile.profile import NumberColumn, column_distance, merge
from trimtab.monitoring.profile.scan import profile_file, profile_table, references_of

STEP = 250_000
WORDS = (2, 12, 300, 5_000, 50_000, 0)  # distinct words of the six columns; 0: a new one in each row
KINDS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "normal": lambda rng, n: rng.normal(50, 10, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 2, n),
    "uniform": lambda rng, n: rng.random(n),
    "60 % zeros": lambda rng, n: np.where(rng.random(n) < 0.6, 0, rng.exponential(3, n)),
    "rounded gamma": lambda rng, n: np.round(rng.gamma(2, 20, n), 2),
    "heavy tails": lambda rng, n: rng.standard_t(2, n),
    "far from zero": lambda rng, n: 1e6 + rng.normal(0, 1, n),
    "two narrow peaks": lambda rng, n: np.where(rng.random(n) < 0.5, 0, 1000) + rng.normal(0, 1e-3, n),
}


def drawn(rng: np.random.Generator, count: int) -> pa.Table:
    """24 columns of numbers of eight kinds, every fifth with 5 % missing, and six of words."""
    columns: dict[str, Any] = {}
    for place, draw in enumerate(list(KINDS.values()) * 3):
        gone = rng.random(count) < 0.05 if place % 5 == 0 else None
        columns[f"x{place}"] = pa.array(draw(rng, count), mask=gone)
    for place, distinct in enumerate(WORDS):
        codes = rng.integers(0, distinct or 2**60, count)
        columns[f"s{place}"] = pa.array([f"word-{code:x}" for code in codes])
    return pa.table(columns)


def write(to: Path, rows: int) -> None:
    rng, writer = np.random.default_rng(0), None
    for start in range(0, rows, STEP):
        table = drawn(rng, min(STEP, rows - start))
        writer = writer or pq.ParquetWriter(to, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def cpu_seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """The least CPU seconds of several warm rounds: other load on the machine only adds."""
    work()
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def decoded_by_batch(path: Path) -> None:
    with pq.ParquetFile(path) as file:
        for _ in file.iter_batches(131_072, use_threads=False):
            pass


def described(path: Path) -> object:
    import pandas as pd

    frame = pd.read_parquet(path)
    return frame.describe(include="all"), frame.nunique()


def peak_megabytes(path: Path) -> float:
    """Peak memory of a fresh process that profiles a file, as it reads it itself: its parent's does not count."""
    code = (
        "import re, pathlib\nfrom trimtab.monitoring.profile.scan import profile_file\n"
        f"profile_file({str(path)!r})\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text()).group(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def exactness() -> list[str]:
    """KS distances from two profiles against scipy's exact ones, on 200,000 rows of each kind."""
    rows = []
    for kind, draw in KINDS.items():
        first, second = draw(np.random.default_rng(1), 200_000), draw(np.random.default_rng(2), 200_000)
        second = np.where(np.random.default_rng(3).random(200_000) < 0.2, second * 1.003, second)
        one = profile_table(pa.table({"x": first}))
        other = profile_table(pa.table({"x": second}), references_of(one))
        exact = float(ks_2samp(first, second).statistic)
        found = column_distance(one.columns["x"], other.columns["x"])
        rows.append(f"| {kind} | {exact:.6f} | {found:.6f} | {abs(found - exact):.1e} |")
    return rows


def merges_to_the_bit(path: Path) -> bool:
    """Whether the profiles of two halves merge into that of the whole, count by count."""
    table = pq.read_table(path)
    whole, half = profile_table(table), table.num_rows // 2
    parts = [profile_table(one, references_of(whole)) for one in (table.slice(0, half), table.slice(half))]
    merged = merge(*parts)
    pairs = [(merged.columns[name], column) for name, column in whole.columns.items()]
    numbers = [(m, w) for m, w in pairs if isinstance(m, NumberColumn) and isinstance(w, NumberColumn)]
    return all(
        np.array_equal(m.histogram.places, w.histogram.places)
        and np.array_equal(m.histogram.counts, w.histogram.counts)
        for m, w in numbers
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--many", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        small, large = Path(folder) / "small.parquet", Path(folder) / "large.parquet"
        write(small, given.rows)
        single = cpu_seconds(lambda: pq.read_table(small, use_threads=False, pre_buffer=False))
        rows = [
            ("pyarrow.parquet.read_table, one thread", single),
            ("pyarrow.parquet.read_table, as it comes", cpu_seconds(lambda: pq.read_table(small))),
            ("pyarrow, batch by batch", cpu_seconds(lambda: decoded_by_batch(small))),
            ("**trimtab profile, decoding included**", cpu_seconds(lambda: profile_file(small))),
            ("pandas: read, describe, nunique", cpu_seconds(lambda: described(small), rounds=1)),
        ]
        is_exact = merges_to_the_bit(small)
        memory = f"{peak_megabytes(small):,.0f} MB at {given.rows:,} rows"
        if given.many:
            write(large, given.many)
            memory += f", {peak_megabytes(large):,.0f} MB at {given.many:,} rows"
    table = [
        f"| {given.rows:,} rows × 30 columns (24 numbers, 6 words), Parquet | CPU-s, warm | × decoding |",
        "|:---|---:|---:|",
        *(f"| {name} | {seconds:.3f} | {seconds / single:.2f} |" for name, seconds in rows),
        "",
        f"Peak memory of a fresh process: {memory}. Halves merge into the whole, to the bit: {is_exact}.",
        "",
        "| kind of column | exact KS | KS from profiles | error |",
        "|:---|---:|---:|---:|",
        *exactness(),
        "",
        "Method: run; CPU of the process and its threads, the least of 5 rounds (1 for pandas).",
        host_line(),
    ]
    text = "\n".join(table) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


def host_line() -> str:
    about = host()
    return f"Machine: {about['cores']} cores, {about['cpu']}, load {os.getloadavg()[0]:.2f}."


if __name__ == "__main__":
    main()

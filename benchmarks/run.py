"""Runs every benchmark, one after another, each into its own table beside it: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run all benchmarks; returns how many failed."""
    failed = 0
    for script in sorted(HERE.glob("*/*.py")):
        print(f"== {script.relative_to(HERE)}", flush=True)
        failed += (
            subprocess.run([sys.executable, str(script), *sys.argv[1:]], cwd=HERE.parent, check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())

"""A process that appends to a ledger: `python -m tests.adapters.ledger_writer PLACE STUDY COUNT`."""

from __future__ import annotations

import sys

from trimtab.adapters.ledger import open_ledger
from trimtab.core.events import Judged
from trimtab.core.model import Refusal

place, study, count = sys.argv[1:]
ledger = open_ledger(place)
for n in range(int(count)):
    ledger.append(*(Judged(study, 3 * n + i, f"k{n}", "w", "x" * 200, Refusal("failed", "")) for i in range(3)))
    print(n, flush=True)

"""A small real table that the contract checks of this area train on."""

from __future__ import annotations

from pathlib import Path

from trimtab.adapters.sources.dataset import DataSpec


def cancer(folder: Path, seed: int) -> DataSpec:
    """Breast cancer (569 real rows, bundled with scikit-learn) in an order drawn by the seed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet
    from sklearn.datasets import load_breast_cancer

    to = folder / f"cancer-{seed}.parquet"
    if not to.exists():
        found = load_breast_cancer()
        order = np.random.default_rng(seed).permutation(len(found.target))
        columns = {f"c{i}": found.data[order, i] for i in range(8)} | {"benign": found.target[order]}
        pyarrow.parquet.write_table(pa.table(columns), to)
    return DataSpec(str(to), "benign", search_share=0.6, holdout_share=0.3)

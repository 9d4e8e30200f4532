"""Where pods go, as programs: the known rules, and what the search for better ones starts from."""

from __future__ import annotations

from trimtab.cluster.packing.simulator import FIT

SPREAD = f"""{FIT.head}
    return -(cpu_free / max(1, cpu_all) + memory_free / max(1, memory_all) + gpu_free / max(1, gpu_all)) / 3
"""
"""Kubernetes' default: the least allocated node."""

FIRST = f"""{FIT.head}
    return 0
"""
"""The first node with room."""

BEST = f"""{FIT.head}
    return (cpu_free - cpu) / max(1, cpu_all) + (gpu_free - gpu) / max(1, gpu_all) + left
"""
"""Best fit: what is left is least."""

FGD = f"""{FIT.head}
    return change
"""
"""Fragmentation gradient descent (Weng et al., ATC 2023)."""

BORG = f"""{FIT.head}
    c = cpu / max(0.001, cpu_free)
    m = gpu / max(0.001, gpu_free) if gpu > 0 else memory / max(0.001, memory_free)
    return c + m + m / max(0.0001, c) + c / max(0.0001, m)
"""
"""The score that AlphaEvolve found for Borg (Novikov et al., 2025), of CPU and GPU (memory, where no GPU is asked)."""

PRICED = f"""{FIT.head}
    price = 0.01 * cpu_free / max(0.1, gpu_free)
    if cpu > 13 * gpu:
        return min(change - price, 1.1 * whole)
    return min(change + 1.5 * price, 1.1 * whole)
"""
"""Fragmentation, and a price of CPU: pods that need much beside their GPUs go where much is free beside GPUs.

The numbers were chosen on the first half of Alibaba's openb history (2023).
"""

FILLED = f"""{FIT.head}
    price = 0.01 * cpu_free / max(0.1, gpu_free)
    if cpu > 13 * gpu:
        return min(change + waste - price, 1.1 * whole)
    return min(change + waste + 1.5 * price, 1.1 * whole)
"""
"""The same, and no GPU is shared so that what is left of it fits nobody, where that can be helped."""

BALANCED = f"""{FIT.head}
    if gpu == 0:
        return change + gpu_all
    return change + 0.02 * abs((cpu_free - cpu) / max(0.01, gpu_free - gpu) - 9)
"""
"""Fragmentation, and as much CPU left for each GPU as pods usually want; pods without a GPU away from GPUs."""

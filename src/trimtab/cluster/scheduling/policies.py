"""Scheduling policies as programs: the classical ones, and what the search for better ones starts from."""

from __future__ import annotations

from trimtab.cluster.scheduling.priority import PRIORITY

FIFO = f"""{PRIORITY.head}
    return submitted
"""
SJF = f"""{PRIORITY.head}
    return predicted
"""
"""Shortest (predicted) job first."""

QSSF = f"""{PRIORITY.head}
    return predicted * gpus
"""
"""Quasi-shortest service first (Hu et al., SC 2021): the predicted GPU time."""

SRSF = f"""{PRIORITY.head}
    return max(60, predicted - attained) * gpus
"""
"""Shortest remaining service first (Gu et al., NSDI 2019), with what is predicted for what is known."""

LAS = f"""{PRIORITY.head}
    if attained * gpus < 3600:
        return submitted
    return 1000000000000 + submitted
"""
"""Tiresias' discretised least attained service (Gu et al., NSDI 2019): two queues, each first in, first out."""

LEAST = f"""{PRIORITY.head}
    return attained * gpus
"""
"""Least attained service, continuous."""

GITTINS = f"""{PRIORITY.head}
    return rank * gpus * (1 - 0.5 * running)
"""
"""The Gittins index times GPUs; what runs keeps its place unless something goes well before it."""

EXPECTED = f"""{PRIORITY.head}
    return left * gpus * (1 - 0.3 * running)
"""
"""Shortest expected remaining service first."""

AGED = f"""{PRIORITY.head}
    return rank * gpus * (1 - 0.5 * running) / (1 + waited / 86400)
"""
"""The same, and nobody is forgotten: a day of waiting halves it."""

HELD = f"""{PRIORITY.head}
    if left > 14400 and busy > 0.95 and waited < 43200:
        return 1000000000000000
    return rank * gpus
"""
"""Long jobs may not take the last free GPUs, which short ones will want, for half a day."""

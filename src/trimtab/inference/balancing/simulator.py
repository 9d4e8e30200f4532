"""Replays requests through many routers to many backends under a routing policy, compiled; the same seed, the same end.

A request comes to a router by chance, the router scores candidates with the policy and sends it at once; the way there
and back takes `rtt` in all (clocks of backends run half of it behind, which changes nothing). What a router knows: its
own requests and answers, reports that probes bring back after `rtt`, and (if they are carried) reports on answers.
With `waits` a request waits
for its own probe. The reference views look at the backends themselves: nothing that runs could do so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from trimtab.adapters.programs import POLICY, Policy, borrowed
from trimtab.inference.balancing.backends import (
    CAME,
    EXPECTED,
    LEFT,
    REPORT,
    ROUTER,
    SAID,
    bring,
    new_backends,
    place,
    report,
)
from trimtab.inference.balancing.caches import new_caches, sent_share, take_prefix
from trimtab.inference.balancing.deciding import (
    ANSWERS,
    BEST,
    CANDIDATES,
    CARRIES,
    CHOSEN,
    HOME,
    POOLS,
    PRIOR,
    PROBES_EACH,
    REMOVED,
    REUSE,
    ROUTERS,
    RTT,
    SEED,
    STALEST,
    TARGET,
    WAITS,
    chance,
    mixed,
    pick,
    settle,
    stalest,
)
from trimtab.inference.balancing.signature import PICK
from trimtab.inference.balancing.views import (
    ASKED,
    CLOCK,
    CREDIT,
    DUE,
    FIRST,
    LAST,
    MAIL,
    NEXT,
    PACE,
    POOL,
    POOLED,
    REMOVALS,
    REPLY,
    USES,
    WAITING,
    hear,
    new_views,
    pool_in,
    pool_out,
    send,
)

Series: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]


_PACE_MEMORY = 20.0  # requests, of a router's pace


@dataclass(frozen=True, eq=False)
class Load:
    """Requests, in the order of their times (s): what each needs, and is expected to need, at speed 1 (s).

    `prefix`: what its prefix takes where it is not cached, on top of `work`; its blocks are
    `blocks[offsets[i]:offsets[i + 1]]`, numbered from 0; both are empty when there are no prefixes.
    """

    times: Series
    work: Series
    prefix: Series
    guess: Series  # of `work`
    offsets: Whole
    blocks: Whole


@dataclass(frozen=True, eq=False)
class Backends:
    """What serves: speeds, requests at a time, the discipline (FIFO or SHARED), blocks that each keeps."""

    speed: Series
    slots: Whole
    discipline: int
    room: int


@dataclass(frozen=True, eq=False)
class Routed:
    """What became of each request: its latency (s), its backend, the share of its prefix found; and the probes sent."""

    latency: Series
    backend: Whole
    found: Series
    probes: int


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _send_probe(
    numbers: Any, wholes: Any, views: Any, desks: Any, mail: Any, rules: Any, r: int, b: int, now: float
) -> int:  # fmt: skip
    """Ask a backend that was brought to now. Returns how many probes were sent: none if too many are on their way."""
    if desks[r, WAITING] >= MAIL:
        return 0
    at = int(desks[r, FIRST] + desks[r, WAITING]) % MAIL
    desks[r, WAITING] += 1.0
    mail[r, at, DUE], mail[r, at, ASKED], mail[r, at, REPLY + REPORT] = now + rules[RTT], b, now
    report(numbers, wholes, b, now, mail[r], at, REPLY)
    views[r, b, LAST] = now
    return 1


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _hear_probes(views: Any, desks: Any, mail: Any, rules: Any, r: int, now: float) -> None:
    """Read the replies that have come."""
    while desks[r, WAITING] and mail[r, int(desks[r, FIRST]), DUE] <= now:
        at = int(desks[r, FIRST])
        b = int(mail[r, at, ASKED])
        hear(views, r, b, mail[r, at, REPLY + REPORT], mail[r], at, REPLY)
        if rules[CANDIDATES] == POOLS:
            pool_in(views, desks, r, b)
        desks[r, FIRST] = (at + 1) % MAIL
        desks[r, WAITING] -= 1.0


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _keep_pace(desks: Any, r: int, now: float) -> None:
    """Count a request of the router in: its moving average of requests/s."""
    gap = max(1e-9, now - desks[r, CLOCK])
    desks[r, CLOCK] = now
    mean = 1.0 / desks[r, PACE] if desks[r, PACE] > 0.0 else gap
    desks[r, PACE] = 1.0 / (mean + (gap - mean) / _PACE_MEMORY)


_FLOATS, _TABLE, _CUBE = numba.f8[::1], numba.f8[:, ::1], numba.f8[:, :, ::1]
_INTS, _LINKS = numba.i8[::1], numba.i8[:, ::1]


# numba's cache looks at the time of this file only: touch it when a kernel of another file has changed.
@numba.njit(
    numba.i8(
        _FLOATS, _FLOATS, _FLOATS, _FLOATS, _INTS, _INTS, _FLOATS, _TABLE, _LINKS, _TABLE, _LINKS, _CUBE, _TABLE, _CUBE,
        numba.i4[:, :, ::1], _INTS, numba.i4[:, ::1], numba.u8[::1], _TABLE, _FLOATS,
        _TABLE, _INTS, _FLOATS, _INTS, numba.i8, POLICY,
    ),
    cache=True,
    error_model="numpy",
)  # fmt: skip
def _replay(
    times: Any, prefix: Any, guess: Any, work: Any, offsets: Any, blocks: Any, rules: Any, asked: Any, links: Any,
    numbers: Any, wholes: Any, views: Any, desks: Any, mail: Any, rings: Any, held: Any, sent:
    Any, dice: Any, state: Any, x: Any, fresh: Any, chosen: Any, found: Any, where: Any, room: int, policy: Any,
) -> Any:  # fmt: skip
    """Route all requests; fills in `asked`, `found` and `where`; returns the probes sent."""
    times, prefix, guess, work, offsets, blocks, rules, asked, links = (
        borrowed(times),
        borrowed(prefix),
        borrowed(guess),
        borrowed(work),
        borrowed(offsets),
        borrowed(blocks),
        borrowed(rules),
        borrowed(asked),
        borrowed(links),
    )
    numbers, wholes, views, desks, mail, rings, held = (
        borrowed(numbers),
        borrowed(wholes),
        borrowed(views),
        borrowed(desks),
        borrowed(mail),
        borrowed(rings),
        borrowed(held),
    )
    sent, dice, state, x, fresh, chosen, found, where = (
        borrowed(sent),
        borrowed(dice),
        borrowed(state),
        borrowed(x),
        borrowed(fresh),
        borrowed(chosen),
        borrowed(found),
        borrowed(where),
    )
    n, count, routers, seed = len(times), len(wholes), len(desks), dice[0]
    probes, ahead = 0, 0
    lag = rules[RTT] if rules[WAITS] else 0.0
    for i in range(n):
        asked[i, CAME], links[i, ROUTER] = times[i], int(mixed(np.uint64(i) ^ seed) % np.uint64(routers))
    x[20], x[21] = routers, count
    i, is_probing, hit = 0, False, 0.0
    while i < n:
        # Requests that wait for their probe sent it `rtt` ago; the others send theirs after the decision.
        if rules[WAITS]:
            is_probing = ahead < n and times[ahead] <= times[i] + lag
        j = ahead if rules[WAITS] and is_probing else i
        now, r = times[j] + (0.0 if is_probing else lag), links[j, ROUTER]
        _hear_probes(views, desks, mail, rules, r, now)
        chosen[HOME], chosen[PRIOR], hit = -1, -1, 0.0
        if len(offsets) and offsets[j + 1] > offsets[j]:
            # The first block is often the same for all (a system prompt): the second tells the conversation.
            family = blocks[min(offsets[j] + 1, offsets[j + 1] - 1)]
            chosen[HOME] = int(mixed(np.uint64(family)) % np.uint64(count))
            chosen[PRIOR], hit = sent_share(sent, r, blocks, offsets[j], offsets[j + 1])
        x[15], x[16], x[19] = guess[j] + prefix[j], prefix[j], desks[r, PACE]
        if is_probing:
            desks[r, CREDIT] += rules[PROBES_EACH]
            while desks[r, CREDIT] >= 1.0:
                desks[r, CREDIT] -= 1.0
                b = int(chance(dice) * count)
                if rules[TARGET] == STALEST:
                    b = stalest(views, r)
                elif rules[TARGET] == BEST:
                    b = pick(
                        x, fresh, asked, links, numbers, wholes, views, desks, state, rules, dice, chosen, r, now,
                        hit, policy, 1.0,
                    )  # fmt: skip
                settle(asked, links, numbers, wholes, views, rules, b, now)
                probes += _send_probe(numbers, wholes, views, desks, mail, rules, r, b, now)
            if rules[WAITS]:
                ahead += 1
            else:
                is_probing, i = False, i + 1
            continue
        _keep_pace(desks, r, now)
        b = pick(
            x, fresh, asked, links, numbers, wholes, views, desks, state, rules, dice, chosen, r, now, hit, policy, 1.0
        )  # fmt: skip
        if len(offsets):
            found[i] = take_prefix(rings, held, room, b, blocks, offsets[i], offsets[i + 1])
            for at in range(offsets[i], offsets[i + 1]):
                sent[r, blocks[at]] = b
        saved = prefix[i] * (1.0 - found[i])
        where[i], asked[i, EXPECTED] = b, guess[i] + saved
        place(asked, links, numbers, wholes, b, i, now, work[i] + saved)
        send(views, r, b, now, guess[i] + saved)
        desks[r, NEXT] = (b + 1) % count
        if rules[CANDIDATES] == POOLS:
            # A probe is used up after some uses; on the side the oldest and the worst are removed in turn.
            views[r, b, USES] += 1.0
            if views[r, b, USES] >= rules[REUSE]:
                pool_out(desks, r, b)
            desks[r, REMOVALS] += rules[REMOVED]
            if desks[r, REMOVALS] >= 1.0 and desks[r, POOLED] >= 2:
                desks[r, REMOVALS] -= 1.0
                out = int(desks[r, POOL])
                if chance(dice) < 0.5:
                    out = pick(
                        x, fresh, asked, links, numbers, wholes, views, desks, state, rules, dice, chosen, r, now,
                        hit, policy, -1.0,
                    )  # fmt: skip
                pool_out(desks, r, out)
        if rules[WAITS] or rules[PROBES_EACH] == 0.0:
            i += 1
        else:
            is_probing = True
    for b in range(count):
        bring(asked, links, numbers, wholes, b, np.inf, False)
    return probes


def route(load: Load, fleet: Backends, rules: Series, policy: Policy) -> Routed:
    """Route all requests under a policy; `rules`: see above."""
    n, count, routers = len(load.times), len(fleet.speed), int(rules[ROUTERS])
    asked = np.zeros((n, SAID + REPORT if rules[CARRIES] >= ANSWERS else SAID))
    numbers, wholes = new_backends(fleet.speed, fleet.slots, fleet.discipline)
    views, desks, mail = new_views(routers, count)
    known = int(load.blocks.max()) + 1 if len(load.blocks) else 0
    sent = np.full((routers, known + 1), -1, np.int32)
    seed = np.array([int(rules[SEED])], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found, where = np.zeros(n), np.zeros(n, np.int64)
    probes = _replay(
        load.times, load.prefix, load.guess, load.work, load.offsets, load.blocks, rules, asked,
        np.zeros((n, 4), np.int64), numbers, wholes, views, desks, mail, new_caches(count, known),
        np.zeros(count, np.int64), sent, seed, np.zeros((routers, PICK.state)), np.zeros(PICK.width),
        np.zeros((1, REPORT)), np.zeros(CHOSEN + count, np.int64), found, where, fleet.room, policy,
    )  # fmt: skip
    return Routed(asked[:, LEFT] + rules[RTT] - load.times, where, found, int(probes))

"""Which header fields concern one connection only, and are not passed on (RFC 9110, 7.6.1)."""

from __future__ import annotations

from collections.abc import Sequence

Header = tuple[bytes, bytes]
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
     b"content-length")
)  # fmt: skip


def end_to_end(headers: Sequence[Header]) -> list[Header]:
    """Those that are passed on: not those of a connection, nor what `Connection` names, nor the body's length."""
    options = [value for name, value in headers if name.lower() == b"connection"]
    dropped = HOP_BY_HOP.union(one.strip().lower() for value in options for one in value.split(b","))
    return [one for one in headers if one[0].lower() not in dropped]

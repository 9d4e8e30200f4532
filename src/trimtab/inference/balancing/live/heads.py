"""Reads the heads of plain HTTP/1.1 messages in native code; all that is not plain is left to a full parser.

Plain is: a complete head of strict syntax, a common method and a path, at most one Content-Length, no Connection but
`keep-alive`, and no other field that concerns one connection only. Such a head may be passed on as it is.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

NOT_PLAIN = -1
BODY, STATUS = 16, 10  # bits of an answer of the readers: where the body begins, then the status, then 1 + its length
_BYTES = numba.types.Bytes(numba.u1, 1, "C")
_CR, _SPACE, _TAB, _COLON = 13, 32, 9, 58
_CASE = 32  # the bit that sets small letters apart
_BASE, _PRIME = 31, 2**31 - 1  # of the hash of a name
_METHODS = (b"GET /", b"POST /", b"PUT /", b"HEAD /", b"DELETE /", b"PATCH /", b"OPTIONS /")
_IN_NAME = np.zeros(256, np.bool_)
_IN_NAME[list(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] = True
_IN_VALUE = np.ones(256, np.bool_)
_IN_VALUE[[*range(9), *range(10, 32), 127]] = False
_IN_TARGET = np.zeros(256, np.bool_)
_IN_TARGET[33:127] = True


def _hash(name: bytes) -> int:
    total = 0
    for one in name:
        total = (total * _BASE + (one | _CASE)) % _PRIME
    return total


_OTHERS = np.array(
    [_hash(name) for name in (b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
                              b"expect")]
)  # fmt: skip


@numba.njit(numba.b1(_BYTES, numba.i8, numba.i8, _BYTES), cache=True)
def _is(text: Any, start: Any, end: Any, word: Any) -> Any:
    """Whether a part of a text is a word, but for capitals."""
    place, size = 0, len(word)
    if end - start != size:
        return False
    while place < size and text[start + place] | _CASE == word[place]:
        place += 1
    return place == size


@numba.njit(numba.b1(_BYTES, numba.i8, _BYTES), cache=True)
def _has(text: Any, start: Any, word: Any) -> Any:
    """Whether a text has a word, as it is written, at a place."""
    place, size = 0, len(word)
    if start + size > len(text):
        return False
    while place < size and text[start + place] == word[place]:
        place += 1
    return place == size


@numba.njit(numba.i8(_BYTES, numba.i8, numba.i8), cache=True)
def _number(text: Any, start: Any, end: Any) -> Any:
    """A number of 1 to 10 digits, else NOT_PLAIN."""
    if not 1 <= end - start <= 10:
        return NOT_PLAIN
    total = 0
    for place in range(start, end):
        digit = text[place] - 48
        if not 0 <= digit <= 9:
            return NOT_PLAIN
        total = total * 10 + digit
    return total


@numba.njit(numba.i8(_BYTES, numba.i8, numba.i8, numba.i8, numba.i8, numba.i8), cache=True)
def _field(text: Any, start: Any, colon: Any, end: Any, hashed: Any, length: Any) -> Any:
    """1 + the content's length after one more field, 0 while it is not known, NOT_PLAIN for one that is not plain."""
    first, last = colon + 1, end
    while first < last and (text[first] == _SPACE or text[first] == _TAB):
        first += 1
    while last > first and (text[last - 1] == _SPACE or text[last - 1] == _TAB):
        last -= 1
    if _is(text, start, colon, b"content-length"):
        number = _number(text, first, last)
        return NOT_PLAIN if length > 0 or number < 0 else number + 1
    if _is(text, start, colon, b"connection"):
        return length if _is(text, first, last, b"keep-alive") else NOT_PLAIN
    for one in _OTHERS:
        if one == hashed:
            return NOT_PLAIN
    return length


@numba.njit(numba.i8(_BYTES, numba.i8), cache=True)
def _fields(text: Any, place: Any) -> Any:
    """Where the body begins, and in the bits above 1 + its length, 0 when it is not said."""
    size = min(len(text), 2**BODY - 1)
    length = 0
    while place + 1 < size:
        if text[place] == _CR:
            return (place + 2) | (length << BODY) if _has(text, place, b"\r\n") else NOT_PLAIN
        start, hashed = place, 0
        while place < size and _IN_NAME[text[place]]:
            hashed = (hashed * _BASE + (text[place] | _CASE)) % _PRIME
            place += 1
        if place == start or place >= size or text[place] != _COLON:
            return NOT_PLAIN
        colon = place
        while place < size and _IN_VALUE[text[place]]:
            place += 1
        if not _has(text, place, b"\r\n"):
            return NOT_PLAIN
        length = _field(text, start, colon, place, hashed, length)
        if length < 0:
            return NOT_PLAIN
        place += 2
    return NOT_PLAIN


@numba.njit(numba.i8(_BYTES), cache=True)
def _path(text: Any) -> Any:
    """Where the path of a request by a common method begins; 0 for another request."""
    for word in _METHODS:
        if _has(text, 0, word):
            return len(word) - 1
    return 0


@numba.njit(numba.i8(_BYTES), cache=True)
def read_request(text: Any) -> Any:
    """Where the body of a plain request begins (BODY bits), and above 1 + its length, 0 when it has none."""
    place = _path(text)
    if not place:
        return NOT_PLAIN
    while place < len(text) and _IN_TARGET[text[place]]:
        place += 1
    return _fields(text, place + 11) if _has(text, place, b" HTTP/1.1\r\n") else NOT_PLAIN


@numba.njit(numba.i8(_BYTES), cache=True)
def read_answer(text: Any) -> Any:
    """The same of an answer, with its status between."""
    size = len(text)
    if size < 14 or not _has(text, 0, b"HTTP/1.1 "):
        return NOT_PLAIN
    status, place = _number(text, 9, 12), 12
    while place < size and _IN_VALUE[text[place]]:
        place += 1
    if status < 200 or (text[12] != _SPACE and text[12] != _CR) or not _has(text, place, b"\r\n"):
        return NOT_PLAIN
    found = _fields(text, place + 2)
    if found < 0:
        return NOT_PLAIN
    body, length = found & (2**BODY - 1), found >> BODY
    return body | (status << BODY) | (length << (BODY + STATUS))

"""HTTP that cannot be made to cost more than was agreed: bytes are counted, redirects and packed bodies refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2


class CutOff(httpx2.TransportError):
    """The answer was not read to its end, and why."""


class Bounded(httpx2.AsyncBaseTransport):
    """Reads at most `max_bytes` of each answer. Proxies and other settings of the environment are not used."""

    def __init__(self, max_bytes: int) -> None:
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False, retries=0)
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises CutOff for an answer that is larger, packed, or sends us elsewhere."""
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        fault = _fault(response, self._max_bytes)
        if fault:
            await response.aclose()
            raise CutOff(fault, request=request)
        stream = _Counted(response, self._max_bytes)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        self._response, self._left = response, max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_raw():
            self._left -= len(chunk)
            if self._left < 0:
                raise CutOff("the answer was cut off: it is larger than the cap on bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def _fault(response: httpx2.Response, max_bytes: int) -> str:
    if 300 <= response.status_code < 400:
        return f"HTTP {response.status_code}: redirects are not followed"
    if response.headers.get("content-encoding", "identity") not in ("", "identity"):
        return "the answer is packed: its size cannot be told"  # a small one may unpack to gigabytes
    length = response.headers.get("content-length", "0")
    if length.isdecimal() and len(length) < 19 and int(length) > max_bytes:
        return f"the answer would be {int(length):,} bytes, the cap is {max_bytes:,}"
    return ""

"""Read files from an HTTP server that may be slow, busy, cut off, or wrong.

A body that is cut continues with a range from where it stopped, so that no byte travels twice.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    LocationValueError,
    MaxRetryError,
    ResponseError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from etl.core.urls import public_url
from etl.io.logins import login
from etl.io.places import STREAM_BYTES, BlobChanged, BlobError, BlobInfo, BlobRefused
from etl.io.retries import Attempts, BusyError, RetryBudget, retried

# 202 is how the official download site says that a file is being made ready.
BUSY = (202, 408, 425, 429, 500, 502, 503, 504)
PAST_THE_END = 416

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_QUERY = re.compile(r"\?[^\s'\"]*")


@dataclass(frozen=True)
class HttpBlob:
    """A file on an HTTP server. See `etl.io.places.Blob`."""

    url: str
    budget: RetryBudget = field(default_factory=RetryBudget)

    def info(self) -> BlobInfo:
        def look() -> BlobInfo:
            with self._answer("bytes=0-3") as response:
                if response.status == PAST_THE_END:
                    return BlobInfo(0, _tag(response), True, b"")
                found = _content_range(response)
                length = response.headers.get("Content-Length", "")
                size = found[2] if found else int(length) if length.isdigit() else None
                head = b""
                for piece in self._pieces(response):
                    head += piece
                    if len(head) >= 4:
                        break
                return BlobInfo(size, _tag(response), found is not None, head[:4])

        return retried(look, self.budget)

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        data = bytearray()
        seen = tag

        def read_on() -> None:
            nonlocal seen
            at = start + len(data)
            with self._answer(f"bytes={at}-{end - 1}") as response:
                seen = self._same(response, seen)
                self._check_range(response, at, end)
                for piece in self._pieces(response):
                    data.extend(piece[: end - start - len(data)])
                    if len(data) == end - start:
                        return
            raise ConnectionError(f"{self}: ended after {start + len(data):,} of {end:,} bytes")

        if start < end:
            retried(read_on, self.budget, lambda: len(data))
        return bytes(data)

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        at, seen, attempts = start, tag, Attempts(self.budget)
        while True:
            try:
                with self._answer() as response:
                    if response.status != 200:
                        raise BlobRefused(
                            f"{self}: requested the whole, the server answers {_status(response)}"
                        )
                    seen = self._same(response, seen)
                    skip = at
                    for piece in self._pieces(response):
                        passed = min(skip, len(piece))
                        skip -= passed
                        if passed < len(piece):
                            at += len(piece) - passed
                            self.budget.restore()
                            yield piece[passed:]
                    if skip:
                        raise BlobChanged(f"{self} has {at - skip:,} bytes, there were at least {at:,}")
                    return
            except BlobError:
                raise
            except OSError as error:
                attempts.wait_after(error, at)

    @contextmanager
    def _answer(self, byte_range: str = "") -> Iterator[BaseHTTPResponse]:
        """Send one GET and give the answer, its body not read yet; statuses are 200, 206 and 416.

        Raises:
            BusyError, ConnectionError, BlobRefused: here or while the body is read.
        """
        settings = self.budget.settings
        headers = {"Accept-Encoding": "identity", "User-Agent": "deeplesion-store"}
        if byte_range:
            headers["Range"] = byte_range
        if user := login(self.url):
            headers |= urllib3.make_headers(basic_auth=user)
        try:
            response = _pool(_proxy(self.url)).request(
                "GET",
                self.url,
                headers=headers,
                preload_content=False,
                decode_content=False,
                # Everything but redirects is retried by `retried`, which knows how far the transfer is.
                retries=Retry(
                    None,
                    connect=0,
                    read=0,
                    status=0,
                    other=0,
                    redirect=10,
                    respect_retry_after_header=False,
                ),
                timeout=urllib3.Timeout(connect=settings.connect_s, read=settings.stall_s),
            )
        except ValueError as error:  # an address that is none; LocationValueError is one
            raise BlobRefused(f"{self}: {_why(error)}") from None
        except MaxRetryError as error:
            # `from None`: urllib3's own message holds the query.
            if isinstance(error.reason, LocationValueError | ResponseError):
                raise BlobRefused(f"{self}: {_why(error.reason)}") from None
            raise ConnectionError(f"{self}: {_why(error.reason)}") from None
        except HTTPError as error:
            raise ConnectionError(f"{self}: {_why(error)}") from None
        try:
            if response.status in BUSY:
                raise BusyError(f"{self}: the server answers {_status(response)}", _retry_after(response))
            if response.status not in (200, 206, PAST_THE_END):
                raise BlobRefused(f"{self}: the server answers {_status(response)}")
            yield response
        except HTTPError as error:
            raise ConnectionError(f"{self}: {_why(error)}") from None
        finally:
            # A body that was read to its end has given its connection back already; another may be gigabytes.
            response.close()
            response.release_conn()

    def _pieces(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises ConnectionError where that is too slow."""
        settings, since, arrived = self.budget.settings, time.monotonic(), 0
        while piece := response.read1(STREAM_BYTES):
            yield piece
            arrived += len(piece)
            seconds = time.monotonic() - since
            if seconds >= settings.stall_s:
                if arrived < settings.least_bytes_per_s * seconds:
                    raise ConnectionError(f"{self}: stalled, {arrived:,} bytes in {seconds:.0f} s")
                since, arrived = time.monotonic(), 0

    def _same(self, response: BaseHTTPResponse, tag: str) -> str:
        """Return the answer's tag. Raises BlobError where another one was expected."""
        found = _tag(response)
        if tag and response.status != PAST_THE_END and found != tag:
            if _is_page(response):
                raise BlobRefused(f"{self}: a web page came instead; the link may have expired")
            raise BlobChanged(
                f"{self} changed since it was looked at: it was {tag}, is {found or 'untagged'}"
            )
        return tag or found

    def _check_range(self, response: BaseHTTPResponse, at: int, end: int) -> None:
        if response.status == PAST_THE_END:
            raise BlobChanged(f"{self} ends before byte {at:,}, expected at least {end:,}")
        found = _content_range(response)
        if found is None:
            came = "a web page" if _is_page(response) else "the whole"
            raise BlobRefused(
                f"{self}: requested bytes {at:,} to {end:,}, {came} came ({_status(response)}); "
                "the link may have expired, or the server has no ranges any more"
            )
        first, last, total = found
        if total is not None and total < end:
            raise BlobChanged(f"{self} has {total:,} bytes, expected at least {end:,}")
        if first != at or last >= end:
            raise BlobRefused(f"{self}: requested bytes {at:,} to {end:,}, {first:,} to {last + 1:,} came")

    def __str__(self) -> str:
        return public_url(self.url)


@functools.lru_cache(maxsize=16)
def _pool(proxy: str) -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(maxsize=16)
    parts = urlsplit(proxy)
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = urllib3.make_headers(proxy_basic_auth=user) if parts.username else None
    return urllib3.ProxyManager(proxy, maxsize=16, proxy_headers=headers)


# Two processes can't share a connection.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _proxy(url: str) -> str:
    """Return the proxy that the environment names for this URL (HTTPS_PROXY, NO_PROXY ...), or empty."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _content_range(response: BaseHTTPResponse) -> tuple[int, int, int | None] | None:
    """Return (first, last, total) of a partial answer; None for a whole one."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if response.status != 206 or match is None:
        return None
    return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])


def _tag(response: BaseHTTPResponse) -> str:
    """Return ETag, time of change, or at least the size; empty where the server sends none."""
    headers = response.headers
    tag = headers.get("ETag") or headers.get("Last-Modified")
    if tag:
        return tag
    found = _content_range(response)
    size = found[2] if found else headers.get("Content-Length")
    return "" if size is None else f"{size} bytes"


def _is_page(response: BaseHTTPResponse) -> bool:
    return response.headers.get("Content-Type", "").startswith("text/html")


def _status(response: BaseHTTPResponse) -> str:
    return f"{response.status} {response.reason or ''}".rstrip()


def _retry_after(response: BaseHTTPResponse) -> float:
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except InvalidHeader:
        return 0.0


def _why(error: BaseException | None) -> str:
    """Return the error as text, without the query of any URL in it."""
    return f"{type(error).__name__}: {_QUERY.sub('', str(error))}"

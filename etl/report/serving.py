"""A small read-only web server of one store on the loopback interface: objects by byte range, and the viewer.

A viewer requests a chunk of a Zarr shard as a byte range. If a server sent the whole shard instead, the
voxels would look right and be wrong, so ranges are answered exactly as RFC 9110 defines.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import unquote, urlsplit

from etl.core.errors import AbsentError, ConfigError, EtlError, StoreError, explained
from etl.core.urls import is_local
from etl.io.places import Objects, checked_name
from etl.report.catalogue import catalogue
from etl.report.cross_origin import checked_origins, preflight_headers, sharing_headers
from etl.report.drawn_pages import JSON, drawing_of
from etl.report.served_headers import EVERY_ANSWER, drawn_headers, object_headers, page_headers
from etl.store.reader import Store

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
NIIVUE = "0.69.0"
# `make viewer` writes niivue.js, which a wheel made after it carries.
_PAGES = ("index.html", "viewer.css", "viewer.js", "niivue.js")

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)\Z")
# Digits of a position; int() refuses thousands of them, and no object is that large.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a response.

    Attributes:
        length: length of the body, if only that was requested.
    """

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None


@dataclass(frozen=True)
class Site:
    """The addresses of a served store: `/viewer/`, to which `/` redirects, `/patient/N` and `/similar/N`.

    `/similar/N/MODEL` compares by another model. `/store/...` are its objects.

    Attributes:
        store: the version that the viewer lists.
    """

    store: Store

    def answer(self, path: str, byte_range: str | None = None, *, head: bool = False) -> Answer:
        """Return the answer to a GET, or to a HEAD, for which no object is read.

        Args:
            path: path of the request, as sent.
            byte_range: the header `Range`. It is ignored for a HEAD, and unless it is a single byte range,
                as RFC 9110 requires.
        """
        try:
            return self._answer(path, byte_range, head)
        except (OSError, EtlError) as error:
            logger.warning("%r can't be answered: %s", path, " ".join(str(error).split()))
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, f"the store can't be read: {error}")

    def _answer(self, path: str, byte_range: str | None, head: bool) -> Answer:
        try:
            parts = [part for part in unquote(urlsplit(path).path).split("/") if part]
        except ValueError as error:  # http://[/ names no host
            return _plain(HTTPStatus.BAD_REQUEST, f"no such page: {error}")
        if not parts:
            return Answer(HTTPStatus.FOUND, {"Location": "/viewer/"})
        if parts[0] == "store":
            return self._object("/".join(parts[1:]), byte_range, head)
        if parts[0] == "viewer" and len(parts) <= 2:
            name = parts[1] if len(parts) == 2 else "index.html"
            if name == "catalogue.json":
                return Answer(HTTPStatus.OK, page_headers(name), self._catalogue)
            if (page := _page(name)) is not None:
                return Answer(HTTPStatus.OK, page_headers(name), page.read_bytes())
        if (draw := drawing_of(parts)) is not None:
            return self._drawn(parts[0], draw)
        return _plain(HTTPStatus.NOT_FOUND, "no such page")

    def _drawn(self, kind: str, draw: Callable[[Store], bytes]) -> Answer:
        try:
            page = draw(self.store)
        except (AbsentError, ConfigError) as error:
            return _plain(HTTPStatus.NOT_FOUND, f"no such page: {error}")
        headers = page_headers(f"{kind}.json") if kind in JSON else drawn_headers()
        return Answer(HTTPStatus.OK, headers, page)

    @cached_property
    def _catalogue(self) -> bytes:
        return json.dumps(catalogue(self.store), separators=(",", ":"), allow_nan=False).encode()

    def _object(self, name: str, byte_range: str | None, head: bool) -> Answer:
        objects = self.store.objects
        try:
            checked_name(name)
            if not _is_inside(objects, name):
                raise FileNotFoundError(f"{name} leads out of the store")
            return self._bytes(name, byte_range, objects.size(name), head)
        except (StoreError, FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
            return _plain(HTTPStatus.NOT_FOUND, f"no such object: {error}")

    def _bytes(self, name: str, byte_range: str | None, size: int | None, head: bool) -> Answer:
        objects = self.store.objects
        if size is None:
            raise FileNotFoundError(name)
        headers = {**object_headers(name), "Accept-Ranges": "bytes"}
        if head:
            return Answer(HTTPStatus.OK, headers, length=size)
        wanted = _wanted(byte_range, size)
        if wanted is None:
            return Answer(HTTPStatus.OK, headers, objects.read(name))
        start, stop = wanted
        if start >= stop:
            headers["Content-Range"] = f"bytes */{size}"
            return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(HTTPStatus.PARTIAL_CONTENT, headers, objects.read_range(name, start, stop))


def serve(store: Store, port: int, on_ready: Callable[[str], None], origins: Collection[str] = ()) -> None:
    """Serve until interrupted.

    Args:
        port: port on the loopback interface; 0 chooses a free one.
        on_ready: called with the address once the server listens.
        origins: whose pages may read the store, such as https://vizarr.example.org.

    Raises:
        ConfigError: the port is in use, or an origin is none.
    """
    allowed = checked_origins(origins)
    with explained(
        ConfigError,
        "the port can't be used",
        where=f"{HOST}:{port}",
        allowed="a free port, or 0 to choose one",
        remedy="give another --port, or 0",
    ):
        server = make_server(store, port, allowed)
    with server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


def make_server(
    store: Store, port: int, origins: Collection[str] = (), idle_s: float = 60.0
) -> ThreadingHTTPServer:
    """Return a server that listens on the loopback interface; see `serve`.

    Args:
        idle_s: seconds without a byte after which a connection is closed.
    """
    handler = type("Handler", (_Handler,), {"site": Site(store), "origins": origins, "timeout": idle_s})
    server = ThreadingHTTPServer((HOST, port), handler)
    server.daemon_threads = True
    return server


def _is_inside(objects: Objects, name: str) -> bool:
    """Return False for an object that a link takes out of a local store."""
    if not is_local(objects.root):
        return True
    root = os.path.realpath(objects.root)
    return os.path.commonpath([root, os.path.realpath(objects.url(name))]) == root


def missing_viewer() -> str | None:
    """Return what to do for the page to draw; None if niivue, which it draws with, is there."""
    if _page("niivue.js") is not None:
        return None
    folder = files("etl.report").joinpath("viewer")
    return (
        "The page can't draw because niivue is not installed: in a checkout run `make viewer`; elsewhere "
        f"install a wheel made by `make wheel`, or save dist/index.js of npm's @niivue/niivue {NIIVUE} as "
        f"{folder.joinpath('niivue.js')}"
    )


def _page(name: str) -> Traversable | None:
    """Return a file of the viewer, or None."""
    if name not in _PAGES:
        return None
    file = files("etl.report").joinpath("viewer", name)
    return file if file.is_file() else None


class _Handler(BaseHTTPRequestHandler):
    site: Site
    origins: Collection[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def do_OPTIONS(self) -> None:
        allowed = preflight_headers(self.headers.get("Origin"), self.origins) if self._is_own_host() else {}
        self.send_response(HTTPStatus.NO_CONTENT if allowed else HTTPStatus.FORBIDDEN)
        for name, value in (allowed | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def _is_own_host(self) -> bool:
        # DNS rebinding: a page of another site could resolve its own name to this address.
        host = ""
        with contextlib.suppress(ValueError):  # "[" is no host at all
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        return host in (HOST, "localhost")

    def _send(self, *, with_body: bool) -> None:
        if not self._is_own_host():
            answer = _plain(HTTPStatus.FORBIDDEN, "this server only answers to 127.0.0.1 and localhost")
        else:
            answer = self.site.answer(self.path, self.headers.get("Range"), head=not with_body)
        self.send_response(answer.status)
        headers = EVERY_ANSWER | dict(answer.headers)
        headers |= sharing_headers(self.headers.get("Origin"), self.origins)
        length = len(answer.body) if answer.length is None else answer.length
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError, TimeoutError):  # the browser has left
                self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _wanted(byte_range: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the requested bytes, empty if out of range; None for all bytes."""
    match = _RANGE.match(byte_range or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if len(first) > _MOST_DIGITS:
        return size, size
    last = "9" * _MOST_DIGITS if len(last) > _MOST_DIGITS else last
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _plain(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8"}, text.encode())

"""A small read-only web server of one store, on the loopback interface: objects by range, and the viewer.

A viewer reads a chunk of a Zarr shard by asking for a range of it. A server that sends the whole shard
instead gives voxels that look right and are wrong, so ranges are answered exactly as RFC 9110 says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from etl.core.errors import StoreError
from etl.io.places import checked_name
from etl.store.layout import report_path
from etl.store.reader import Store

HOST = "127.0.0.1"
# By the name in the address; niivue lies where npm puts it.
_PAGES = {
    "index.html": "index.html",
    "viewer.css": "viewer.css",
    "viewer.js": "viewer.js",
    "niivue.js": "node_modules/@niivue/niivue/dist/index.js",
}

_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Pages may load what this server has, and nothing else. niivue compiles its decoder of blosc in the page.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' data: blob:; img-src 'self' data: blob:"
)


@dataclass(frozen=True)
class Answer:
    """Status, headers and body.

    Attributes:
        length: of the body, where that was asked for without it.
    """

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None


@dataclass(frozen=True)
class Site:
    """What is served of a store.

    Paths: `/` leads to the viewer, `/viewer/` is the viewer, `/store/...` are the store's objects.

    Attributes:
        store: the version that the viewer lists.
    """

    store: Store

    def answer(self, path: str, byte_range: str | None = None, *, head: bool = False) -> Answer:
        """The answer to a GET, or to a HEAD, for which no object is read.

        Args:
            path: of the request, as sent.
            byte_range: the header `Range`; one that is no single range of bytes is ignored, and so is every
                one of a HEAD, as RFC 9110 asks.
        """
        parts = [part for part in unquote(urlsplit(path).path).split("/") if part]
        if not parts:
            return Answer(HTTPStatus.FOUND, {"Location": "/viewer/"})
        if parts[0] == "store":
            return self._object("/".join(parts[1:]), byte_range, head)
        if parts[0] == "viewer" and len(parts) <= 2:
            name = parts[1] if len(parts) == 2 else "index.html"
            if name == "catalogue.json":
                return Answer(HTTPStatus.OK, {"Content-Type": _TYPES[".json"]}, self._catalogue)
            if (page := _page(name)) is not None:
                return Answer(HTTPStatus.OK, _headers(name), page.read_bytes())
        return _plain(HTTPStatus.NOT_FOUND, "there is no such page")

    @cached_property
    def _catalogue(self) -> bytes:
        return json.dumps(catalogue(self.store), separators=(",", ":"), allow_nan=False).encode()

    def _object(self, name: str, byte_range: str | None, head: bool) -> Answer:
        objects = self.store.objects
        try:
            checked_name(name)
            return self._bytes(name, byte_range, objects.size(name), head)
        except (StoreError, FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
            return _plain(HTTPStatus.NOT_FOUND, f"there is no such object: {error}")

    def _bytes(self, name: str, byte_range: str | None, size: int | None, head: bool) -> Answer:
        objects = self.store.objects
        if size is None:
            raise FileNotFoundError(name)
        headers = _headers(name) | {"Accept-Ranges": "bytes"}
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


def catalogue(store: Store) -> dict[str, object]:
    """What the viewer lists: the report's page, volumes and lesions, column by column; null where none is.

    Shapes, spacings and positions are (z, y, x), in voxels of the stored volume and mm.
    """
    volumes, lesions = store.volumes(), store.lesions()
    axes = "zyx"
    report = f"{report_path(store.version['version'])}/index.html"
    return {
        "store": store.objects.root,
        "version": store.version["version"],
        "report": report if store.objects.size(report) is not None else None,
        "volumes": {
            "volume_id": volumes["volume_id"].tolist(),
            "path": volumes["path"].tolist(),
            "shape": volumes[[f"shape_{a}" for a in axes]].to_numpy().tolist(),
            "spacing_mm": volumes[[f"spacing_{a}_mm" for a in axes]].to_numpy().tolist(),
            "hu": volumes[["hu_minimum", "hu_maximum", "hu_mean"]].to_numpy().tolist(),
        },
        "lesions": {
            "lesion_id": lesions["lesion_id"].tolist(),
            "volume_id": lesions["volume_id"].tolist(),
            "type": [None if code != code else code for code in lesions["coarse_type"].tolist()],
            "split": lesions["split"].tolist(),
            "long_diameter_mm": lesions["long_diameter_mm"].round(1).tolist(),
            "window_hu": lesions[["window_low_hu", "window_high_hu"]].to_numpy().tolist(),
            "z_vox": lesions["z_vox"].tolist(),
            "box_vox": lesions[[f"bbox_{a}{n}_vox" for n in "12" for a in "yx"]].to_numpy().tolist(),
        },
    }


def serve(store: Store, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        port: on the loopback interface; 0 for some free one.
        on_ready: called with the address once it listens.

    Raises:
        OSError: the port is taken.
    """
    with make_server(store, port) as server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


def make_server(store: Store, port: int) -> ThreadingHTTPServer:
    """A server that listens on the loopback interface; see `serve`."""
    handler = type("Handler", (_Handler,), {"site": Site(store)})
    server = ThreadingHTTPServer((HOST, port), handler)
    server.daemon_threads = True
    return server


def has_viewer() -> bool:
    """Whether niivue, which the viewer draws with, was installed."""
    return _page("niivue.js") is not None


def _page(name: str) -> Traversable | None:
    """A file of the viewer, where it is there."""
    if name not in _PAGES:
        return None
    file = files("etl.report").joinpath("viewer", _PAGES[name])
    return file if file.is_file() else None


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        # A page elsewhere can have its name lead here, and would then read what this server has.
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in (HOST, "localhost"):
            answer = _plain(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost")
        else:
            try:
                answer = self.site.answer(self.path, self.headers.get("Range"), head=not with_body)
            except OSError as error:
                answer = _plain(HTTPStatus.BAD_GATEWAY, f"the store can't be read: {error}")
        self.send_response(answer.status)
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"} | dict(answer.headers)
        length = len(answer.body) if answer.length is None else answer.length
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _wanted(byte_range: str | None, size: int) -> tuple[int, int] | None:
    """(start, stop) of the bytes asked for, empty where there are none; None for all."""
    match = _RANGE.match(byte_range or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _headers(name: str) -> dict[str, str]:
    suffix = PurePosixPath(name).suffix
    headers = {"Content-Type": _TYPES.get(suffix, "application/octet-stream")}
    return headers | {"Content-Security-Policy": _POLICY} if suffix == ".html" else headers


def _plain(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8"}, text.encode())

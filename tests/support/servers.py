"""A real HTTP server on loopback that misbehaves on request. Tests take the fixture `http_server`."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.http_faults import (
    Answer,
    Change,
    Cut,
    Fault,
    NoRange,
    Request,
    ShortRange,
    Stall,
    Trickle,
    WrongLength,
)

PIECE_BYTES = 1 << 16


class HttpServer:
    """A threaded server of bytes, or of a folder, with ranges and ETags.

    Attributes:
        files: what is served by path (`/a.zip`); looked at before the folder.
        requests: the log.
        faults: by path, what goes wrong with the next requests, in order; None: that one goes well.
        chance: what goes wrong when nothing is left in `faults`.
        tagged: "etag", "time" (Last-Modified) or "".
        has_ranges: False to ignore ranges.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.faults: dict[str, list[Fault | None]] = {}
        self.chance: Callable[[Request], Fault | None] = lambda request: None
        self.tagged, self.has_ranges = "etag", True
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.connections = 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.daemon = True
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, content: bytes, *faults: Fault | None) -> str:
        """Serve bytes at a path; returns the URL."""
        self.files[path] = content
        self.faults[path] = list(faults)
        return self.url + path

    def content(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        file = self.folder / path.lstrip("/") if self.folder and ".." not in path else None
        return file.read_bytes() if file and file.is_file() else None

    def ranges(self, path: str) -> list[tuple[int, int] | None]:
        """The ranges asked for so far."""
        return [request.byte_range for request in self.requests if request.path == path]

    def next_fault(self, request: Request) -> Fault | None:
        with self.lock:
            script = self.faults.get(request.path)
            if script:
                return script.pop(0)
        return self.chance(request)

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: HttpServer
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.owner.lock:
            self.owner.connections += 1
            self.number = self.owner.connections

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # the client went away
            super().handle()

    def do_GET(self) -> None:
        # A proxy is asked for the whole URL.
        parts = urlsplit(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        byte_range = (int(wanted[1]), int(wanted[2]) + 1) if wanted else None
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(parts.path), parts.query, headers, self.number, byte_range)
        with self.owner.lock:
            self.owner.requests.append(request)
        self._answer(request, self.owner.next_fault(request))

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, request: Request, fault: Fault | None) -> None:
        if isinstance(fault, Stall) and fault.after is None:
            return self._hang()
        if isinstance(fault, Answer):
            return self._send(request, fault.status, fault.headers, fault.body, None)
        if isinstance(fault, Change):
            self.owner.files[request.path] = fault.content
        content = self.owner.content(request.path)
        if content is None:
            return self._send(request, 404, {"Content-Type": "text/html"}, b"<h1>Not found</h1>", None)
        headers = {"Content-Type": "application/zip", **self._tags(content)}
        if request.headers.get("If-Match", headers.get("ETag")) != headers.get("ETag"):
            return self._send(request, 412, {}, b"", None)
        if request.byte_range is None or not self.owner.has_ranges or isinstance(fault, NoRange):
            return self._send(request, 200, headers, content, fault)
        start, end = request.byte_range
        if isinstance(fault, ShortRange):
            end = min(end, start + fault.at_most)
        if start >= len(content):
            return self._send(request, 416, {"Content-Range": f"bytes */{len(content)}"}, b"", fault)
        body = content[start:end]
        headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
        return self._send(request, 206, headers, body, fault)

    def _tags(self, content: bytes) -> dict[str, str]:
        digest = hashlib.sha256(content).hexdigest()[:16]
        if self.owner.tagged == "etag":
            return {"ETag": f'"{digest}"'}
        if self.owner.tagged == "time":
            return {"Last-Modified": formatdate(int(digest[:7], 16), usegmt=True)}
        return {}

    def _send(
        self, request: Request, status: int, headers: dict[str, str], body: bytes, fault: Fault | None
    ) -> None:
        request.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        is_chunked = isinstance(fault, NoRange) and fault.is_chunked
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            more = fault.by if isinstance(fault, WrongLength) else 0
            self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        if request.method == "HEAD":
            return
        after = fault.after if isinstance(fault, Cut | Stall | NoRange) else None
        self._write(request, body[:after], fault, is_chunked)
        if isinstance(fault, Stall):
            self._hang()
        elif isinstance(fault, Cut | WrongLength) or after is not None:
            self._close(isinstance(fault, Cut) and fault.is_reset)
        elif is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, request: Request, body: bytes, fault: Fault | None, is_chunked: bool) -> None:
        size, pause = PIECE_BYTES, 0.0
        if isinstance(fault, Trickle):
            size, pause = fault.piece_bytes, fault.pause_seconds
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            # Counted before: the client may look as soon as it has the bytes.
            request.sent += len(piece)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if pause and self.owner.stopped.wait(pause):
                return

    def _hang(self) -> None:
        """Hold the connection until the client or the test gives up."""
        while not self.owner.stopped.is_set():
            if select.select([self.connection], [], [], 0.02)[0]:
                break
        self.close_connection = True

    def _close(self, is_reset: bool) -> None:
        if is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # What was sent is to arrive before the reset throws the rest away.
            time.sleep(0.05)
        self.close_connection = True


@contextmanager
def serve(folder: Path | None = None) -> Iterator[HttpServer]:
    """An HTTP server that stops at the end of the block."""
    server = HttpServer(folder)
    try:
        yield server
    finally:
        server.stop()

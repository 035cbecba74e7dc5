"""Real servers on loopback for tests: an HTTP server that misbehaves on request, and an S3-compatible one.

`tests/conftest.py` offers them as the fixtures `http_server` and `s3_bucket`. Both stop with their test.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import pytest

PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the body; `is_reset`: with a reset instead of an end."""

    after: int
    is_reset: bool = False


@dataclass(frozen=True)
class Stall:
    """Nothing more comes after so many bytes of the body; None: not even a header."""

    after: int | None = None


@dataclass(frozen=True)
class Trickle:
    """The body comes in small pieces with a pause after each."""

    piece_bytes: int
    pause_seconds: float


@dataclass(frozen=True)
class Answer:
    """Another answer in place of the file: an error, a redirect, a web page with status 200."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class WrongLength:
    """Content-Length says so many bytes more than come; a negative number: fewer."""

    by: int


@dataclass(frozen=True)
class NoRange:
    """The range asked for is ignored; `is_chunked`: without a Content-Length too."""

    is_chunked: bool = False
    after: int | None = None


@dataclass(frozen=True)
class ShortRange:
    """The answer's range ends early, as a server may choose."""

    at_most: int


@dataclass(frozen=True)
class Change:
    """The file is another one from this request on."""

    content: bytes


Fault = Cut | Stall | Trickle | Answer | WrongLength | NoRange | ShortRange | Change
PAGE = Answer(
    200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><p>This link has expired.</p>"
)


def busy(status: int = 503, retry_after: str = "") -> Answer:
    """An answer of a server that has too much to do."""
    return Answer(status, {"Retry-After": retry_after} if retry_after else {}, b"<html>busy</html>")


@dataclass
class Request:
    """One line of the server's log.

    Attributes:
        headers: names are in Title-Case.
        connection: number of the connection it came on.
        byte_range: (first, end) as asked for, or None.
        sent: bytes of the body that were written, those that never arrived among them.
        status: of the answer; 0 where none was sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    connection: int
    byte_range: tuple[int, int] | None
    sent: int = 0
    status: int = 0


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
            return script.pop(0) if script else self.chance(request)

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def seeded_faults(seed: int, chance: float, faults: Sequence[Fault]) -> Callable[[Request], Fault | None]:
    """For `HttpServer.chance`: each request fails with this chance, never twice in a row at one path.

    What goes wrong depends on the seed and on the number of the request at its path, not on threads.
    """
    counts: dict[str, int] = {}
    failed: dict[str, bool] = {}

    def choose(request: Request) -> Fault | None:
        number = counts[request.path] = counts.get(request.path, 0) + 1
        dice = random.Random(f"{seed} {request.path} {number}")
        failed[request.path] = not failed.get(request.path, False) and dice.random() < chance
        return dice.choice(faults) if failed[request.path] else None

    return choose


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
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            request.sent += len(piece)
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


@dataclass(frozen=True)
class Bucket:
    """A bucket on the S3-compatible server that the environment names, looked at through boto3."""

    name: str

    @classmethod
    def make(cls, name: str) -> Bucket:
        bucket = cls(name)
        bucket.client.create_bucket(Bucket=name)
        return bucket

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3")

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes) -> str:
        """Write an object; returns its URL."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self) -> list[str]:
        """All keys, in order; at most 1,000."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


@contextmanager
def s3_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> Iterator[None]:
    """Let s3fs and boto3 find a server, here and in processes started from here."""
    import s3fs

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # fsspec keeps its filesystems, which keep the endpoint.
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def serve_s3() -> Iterator[str]:
    """An S3-compatible server that enforces conditional writes; gives its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()

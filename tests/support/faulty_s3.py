"""The server of `tests.support.s3_server` with faults: it keeps a log, and does what `choose` says."""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import Any, NoReturn

from tests.support.http_faults import Answer, Cut, Fault, NoRange, Stall, WrongLength

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message><RequestId>1</RequestId></Error>'


class S3Fault(Enum):
    """A fault of one request: (status, code) of an error answer, or what becomes of the connection."""

    INTERNAL = (500, "InternalError")
    SLOW_DOWN = (503, "SlowDown")
    FORBIDDEN = (403, "AccessDenied")
    CONFLICT = (409, "ConditionalRequestConflict")
    FULL = (507, "XMinioStorageFull")
    RESET = "the connection is reset, nothing was done"
    TIMEOUT = "no answer comes, nothing was done"
    LOST_REPLY = "it is done, and the connection is reset before the answer"
    LATE_REPLY = "it is done, and no answer comes"


PASSING = (
    S3Fault.INTERNAL,
    S3Fault.SLOW_DOWN,
    S3Fault.RESET,
    S3Fault.TIMEOUT,
    S3Fault.LOST_REPLY,
    S3Fault.LATE_REPLY,
)


@dataclass(frozen=True)
class S3Request:
    """One line of the log.

    Attributes:
        byte_range: (first, end) as asked for, or None.
        if_match: the ETag that the object must have, or empty.
    """

    method: str
    path: str
    query: str
    byte_range: tuple[int, int] | None = None
    if_match: str = ""

    @property
    def writes(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")


class FaultyS3:
    """The server.

    Attributes:
        url: where it answers.
        hang_seconds: until a connection without an answer ends.
        requests: the log.
        choose: what goes wrong with a request, if anything.
        faults: what went wrong.
        deaf_to: so many requests with a body are not even asked to go on.
    """

    def __init__(self, url: str) -> None:
        self.url, self.hang_seconds = url, 3.0
        self.requests: list[S3Request] = []
        self.choose: Callable[[S3Request], S3Fault | Fault | None] = lambda request: None
        self.faults: list[S3Fault | Fault] = []
        self.deaf_to = 0

    def answer(self, careful: Any, environ: dict[str, Any], start_response: Any) -> Any:
        # A body that is not taken would be read as the next request.
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
        request = S3Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ["QUERY_STRING"],
            (int(wanted[1]), int(wanted[2]) + 1) if wanted else None,
            environ.get("HTTP_IF_MATCH", ""),
        )
        self.requests.append(request)
        fault = self.choose(request)
        if fault is None:
            return careful(environ, start_response)
        self.faults.append(fault)
        if not isinstance(fault, S3Fault):
            return self._answer_wrongly(fault, careful, environ, start_response)
        if isinstance(fault.value, tuple):
            status, code = fault.value
            start_response(f"{status} {code}", [("Content-Type", "application/xml")])
            return [ERROR.format(code, "as the test wants it").encode()]
        if fault in (S3Fault.LOST_REPLY, S3Fault.LATE_REPLY):
            for _ in careful(environ, lambda status, headers, error=None: lambda data: None):
                pass
        if fault in (S3Fault.TIMEOUT, S3Fault.LATE_REPLY):
            time.sleep(self.hang_seconds)
        connection: socket.socket = environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError

    def ranges(self, path: str) -> list[tuple[int, int] | None]:
        """The ranges of an object asked for so far."""
        return [r.byte_range for r in self.requests if r.path == path and r.method == "GET"]

    def _answer_wrongly(
        self, fault: Fault, careful: Any, environ: dict[str, Any], start_response: Any
    ) -> Any:
        """The faults that web servers have too; see `tests.support.http_faults`."""
        connection: socket.socket = environ["werkzeug.socket"]
        if isinstance(fault, Stall) and fault.after is None:
            self._hang_up(connection)
        if isinstance(fault, Answer):
            headers = {"Content-Length": str(len(fault.body)), **fault.headers}
            start_response(f"{fault.status} as the test wants it", list(headers.items()))
            return [fault.body]
        if isinstance(fault, NoRange):
            environ.pop("HTTP_RANGE", None)
            return careful(environ, start_response)
        assert isinstance(fault, Cut | Stall | WrongLength), f"a bucket does not know {fault}"
        status, headers = "", {}

        def note(found: str, listed: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], None]:
            nonlocal status, headers
            status, headers = found, dict(listed)
            return lambda data: None

        body = b"".join(careful(environ, note))
        headers["Content-Length"] = str(len(body) + (fault.by if isinstance(fault, WrongLength) else 0))
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        connection.sendall(body if isinstance(fault, WrongLength) else body[: fault.after])
        if isinstance(fault, Stall):
            self._hang_up(connection)
        if isinstance(fault, Cut) and fault.is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # What was sent is to arrive before the reset throws the rest away.
            time.sleep(0.05)
        raise ConnectionResetError

    def _hang_up(self, connection: socket.socket) -> NoReturn:
        """Hold the connection until the client gives it up."""
        select.select([connection], [], [], self.hang_seconds)
        raise ConnectionResetError


def at_object(path: str, *faults: Fault | None) -> Callable[[S3Request], Fault | None]:
    """For `choose`: these, one after the other, at the requests for an object's bytes."""
    left = list(faults)

    def choose(request: S3Request) -> Fault | None:
        return left.pop(0) if left and (request.method, request.path) == ("GET", path) else None

    return choose


def seeded(seed: int, share: float) -> Callable[[S3Request], S3Fault | None]:
    """Each request fails with this chance, in any way that passes."""
    dice, lock = random.Random(seed), threading.Lock()

    def choose(request: S3Request) -> S3Fault | None:
        with lock:
            return dice.choice(PASSING) if dice.random() < share else None

    return choose


@contextmanager
def serve_faulty_s3() -> Iterator[FaultyS3]:
    """The buckets of this process's S3 server, reached through one that has faults."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args: Any) -> None:
            pass

        def connection_dropped(self, *args: Any) -> None:
            self.close_connection = True

        def handle_expect_100(self) -> bool:
            """Keep a client waiting that asks before it sends its body."""
            if faulty.deaf_to:
                faulty.deaf_to -= 1
                time.sleep(faulty.hang_seconds)
                return False
            return super().handle_expect_100()

    careful = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1", 0, lambda e, s: faulty.answer(careful, e, s), threaded=True, request_handler=Handler
    )
    faulty = FaultyS3(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield faulty
    finally:
        server.shutdown()
        thread.join()

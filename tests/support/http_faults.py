"""Faults of HTTP answers, as scripts for the server in `tests.support.servers`."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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


class Asked(Protocol):
    """A request for something at a path."""

    @property
    def path(self) -> str:
        """The path of the URL."""


def seeded_faults(seed: int, chance: float, faults: Sequence[Fault]) -> Callable[[Asked], Fault | None]:
    """For `HttpServer.chance` and `FaultyS3.choose`: each request fails with this chance, never twice in a
    row at one path.

    What goes wrong depends on the seed and on the number of the request at its path, not on threads.
    """
    counts: dict[str, int] = {}
    failed: dict[str, bool] = {}
    lock = threading.Lock()

    def choose(request: Asked) -> Fault | None:
        with lock:
            number = counts[request.path] = counts.get(request.path, 0) + 1
            dice = random.Random(f"{seed} {request.path} {number}")
            failed[request.path] = not failed.get(request.path, False) and dice.random() < chance
            return dice.choice(faults) if failed[request.path] else None

    return choose

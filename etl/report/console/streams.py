"""Standard output and error of a job, whatever they are: closed, full, a broken pipe, of another encoding."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class KeptStream:
    """A text stream whose failed writes are remembered and not raised; what follows them is dropped.

    It hides the stream's `buffer`: click would write past it there.

    Attributes:
        failure: the first error of a write; None while all went well.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or error
        # Otherwise Python tries again at its end to write what the buffer holds, and exits with 120.
        _point_to_nothing(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def kept_streams() -> Iterator[None]:
    """Let output and error of the block fail without an exception; see `output_failure`.

    A closed descriptor is opened on /dev/null, or the next file of the process would get its number and what
    libraries print. Characters that the encoding lacks are written as escapes.
    """
    before = sys.stdout, sys.stderr
    _open_closed()
    sys.stdout, sys.stderr = cast("Any", (_kept(sys.stdout, 1), _kept(sys.stderr, 2)))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def output_failure() -> OSError | None:
    """Return why standard output could not be written; None where it could, or its reader has closed it."""
    stream: Any = sys.stdout
    failure = stream.failure if isinstance(stream, KeptStream) else None
    return None if failure is not None and failure.errno == errno.EPIPE else failure


def forgive_output() -> None:
    """Count a failure of standard output as told."""
    stream: Any = sys.stdout
    if isinstance(stream, KeptStream):
        stream.failure = None


def _open_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _point_to_nothing(descriptor)


def _kept(stream: Any, descriptor: int) -> KeptStream:
    if isinstance(stream, KeptStream):
        return stream
    if stream is None:
        stream = os.fdopen(descriptor, "w", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return KeptStream(stream)


def _point_to_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)

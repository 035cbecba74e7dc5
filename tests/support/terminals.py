"""A terminal for tests: a process whose input, output and Ctrl-C are those of a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.processes import ROOT, environment, kill_tree

CTRL_C = b"\x03"
ROWS, COLUMNS = 24, 100


@dataclass
class Terminal:
    """A process on a terminal.

    Attributes:
        keys: the terminal's other end, as a file descriptor.
        screen: what the process has written so far.
    """

    process: subprocess.Popen[bytes]
    keys: int
    screen: bytearray = field(default_factory=bytearray)

    def press(self, keys: bytes) -> None:
        os.write(self.keys, keys)

    def text(self) -> str:
        return self.screen.decode(errors="replace")

    def listen(self) -> None:
        """Take what comes until nobody holds the terminal any more."""
        with contextlib.suppress(OSError):  # how Linux says so
            while piece := os.read(self.keys, 1 << 16):
                self.screen += piece


@contextlib.contextmanager
def on_terminal(command: Sequence[str]) -> Iterator[Terminal]:
    """A process in the foreground of a terminal of its own; killed at the end if it still runs."""
    keys, inside = pty.openpty()
    termios.tcsetwinsize(inside, (ROWS, COLUMNS))
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(TERM="xterm"),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(inside)
    terminal = Terminal(process, keys)
    listener = threading.Thread(target=terminal.listen)
    listener.start()
    try:
        yield terminal
    finally:
        kill_tree(process)
        listener.join()
        os.close(keys)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

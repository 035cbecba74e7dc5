"""Run a script as a process of its own, and hand signals on to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from etl.run.signals import AtOnce

# In a script's environment: the words of the command line before it, for it to say how to run it again.
SUBMITTED_AS = "DASK_SUBMIT_COMMAND"
# After a second Ctrl-C, for the script to put the terminal in order.
GRACE_SECONDS = 1.0
UNTIL_PARENT_ENDS = Path(__file__).with_name("until_parent_ends.py")


def run_script(command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int] = ()) -> int:
    """Run a Python script with its arguments to the end. Where this process is killed, it gets SIGTERM.

    Args:
        keep: file descriptors that it inherits.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it, as a shell has it.

    Raises:
        AtOnce: Ctrl-C came twice; the script has ended, or was killed where it did not.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []
    presses = 0

    def forward(number: int, frame: object) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    def interrupted(number: int, frame: object) -> None:
        # A terminal sends Ctrl-C to the script as well, so it is left to the script to end.
        nonlocal presses
        presses += 1
        if process is None:
            early.append(number)
        elif presses > 1:
            raise AtOnce

    # Before the script is there: a signal of that moment would end this process and leave the script alone.
    handlers = {signal.SIGINT: interrupted, signal.SIGTERM: forward}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        # Isolated and without site: a moment's start.
        bound = [sys.executable, "-IS", str(UNTIL_PARENT_ENDS), str(os.getpid()), sys.executable, *command]
        process = subprocess.Popen(bound, env=environment, pass_fds=keep)
        for number in early:
            process.send_signal(number)
        code = _wait(process)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except AtOnce:
        try:
            # It heard of both too.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        finally:
            process.kill()
        raise

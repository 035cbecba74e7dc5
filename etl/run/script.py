"""Run a script as a process of its own, and hand signals on to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

# In a script's environment: the words of the command line before it, for it to say how to run it again.
SUBMITTED_AS = "DASK_SUBMIT_COMMAND"


def run_script(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a Python script with its arguments to the end.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it, as a shell has it.
    """
    process = subprocess.Popen([sys.executable, *command], env=environment)

    def forward(number: int, frame: object) -> None:
        process.send_signal(number)

    # A terminal sends Ctrl-C to the script as well, so it is left to the script to end.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, forward)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code

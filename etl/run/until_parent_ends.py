"""Replace this process by another program that gets SIGTERM when its parent ends, for whatever reason.

    python until_parent_ends.py PARENT_PID PROGRAM [ARGUMENTS]

This is a program of its own because code between fork and exec can hang in the child of a process with
threads. Only Linux signals a parent's end; elsewhere the program runs on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Execute the command in place of this process; does not return."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it has ended meanwhile
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

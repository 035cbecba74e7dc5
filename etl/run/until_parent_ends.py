"""Become another program, one that gets SIGTERM when its parent ends, however that ends.

    python until_parent_ends.py PARENT_PID PROGRAM [ARGUMENTS]

Not done between fork and exec: in the child of a process with threads, Python may hang there. Only Linux
tells of a parent's end; elsewhere the program goes on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Does not return."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it has ended meanwhile
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

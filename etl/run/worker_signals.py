"""Preloaded by the workers of the embedded cluster: Ctrl-C is the job's affair.

A terminal sends it to the workers too, which would print a traceback each while the job stops them in order.
"""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Called by Dask in the worker's main thread when it starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

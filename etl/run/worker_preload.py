"""Preloaded by the workers of the embedded cluster, whose end is the job's affair.

A terminal sends Ctrl-C to the workers too, and a batch system SIGTERM: each would print a traceback, or leave
what it holds to be cleaned up with a warning, while the job stops them in order.
A worker whose heartbeat falls between the scheduler's end and its own would report an error that is none.
"""

from __future__ import annotations

import logging
import signal

_HEARTBEAT = "Failed to communicate with scheduler during heartbeat"


def dask_setup(worker: object) -> None:
    """Called by Dask in the worker's main thread when it starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_HEARTBEAT)

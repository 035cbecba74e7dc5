"""Logs of a job."""

from __future__ import annotations

import logging
import sys

import dask.config
from rich.console import Console
from rich.logging import RichHandler


def start_logging() -> Console:
    """Log to standard error: with times, plain in a file, beside the live bar on a terminal."""
    # Not what FORCE_COLOR and the like claim: a log file stays free of control codes.
    console = Console(stderr=True, force_terminal=sys.stderr.isatty())
    if console.is_interactive:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S", highlighter=None
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("distributed", "asyncio", "tornado", "botocore", "aiobotocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Where distributed is loaded only later, it sets its levels from here.
    dask.config.set({"logging": {"distributed": "warning", "tornado": "warning"}})
    return console

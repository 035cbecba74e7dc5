"""Logging of a job."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def start_logging() -> Console:
    """Log to standard error: plain lines with times in a file, above the live progress bar on a terminal."""
    import dask.config
    from rich.console import Console
    from rich.logging import RichHandler

    # FORCE_COLOR and similar variables are ignored: a log file stays free of control codes.
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
    # distributed sets its levels from Dask's config when it is imported.
    dask.config.set({"logging": {"distributed": "warning", "tornado": "warning"}})
    return console

"""Logging of a job, and what every process of it leaves out of its log: secrets, and urllib3's redirects."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from etl.core.secrets import without_secrets

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
    leave_secrets_out()
    quiet_dask()
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("distributed", "asyncio", "tornado", "botocore", "aiobotocore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # distributed sets its levels from Dask's config when it is imported.
    dask.config.set({"logging": {"distributed": "warning", "tornado": "warning"}})
    return console


@functools.cache
def leave_secrets_out() -> None:
    """Leave secrets out of every log record of this process, whatever logger and handler it goes through."""
    make = logging.getLogRecordFactory()

    def make_without_secrets(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            return record  # the arguments do not fit; a handler reports that with the caller's line
        if (cleaned := without_secrets(text)) != text:
            record.msg, record.args = cleaned, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text = without_secrets(trace.rstrip("\n"))
        return record

    logging.setLogRecordFactory(make_without_secrets)
    # Its lines on INFO show where a redirect leads, with the signature, which may be the path.
    logging.getLogger("urllib3").setLevel(logging.WARNING)


@functools.cache
def quiet_dask() -> None:
    """Leave out what Dask logs about runs that succeed, and no user can act on.

    A nanny warns if a worker takes more than four seconds to end, on a busy machine after each run, and then
    ends it. The size of a result that can't be measured counts as 1 MiB; ours have a few hundred bytes.
    """
    logging.getLogger("distributed.nanny").addFilter(_is_not_about_ending)
    logging.getLogger("distributed.sizeof").setLevel(logging.ERROR)


def _is_not_about_ending(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Worker process still alive after")

"""Call a job's command line in this process, without the start of a process."""

from __future__ import annotations

import importlib
import logging

from click.testing import CliRunner, Result


def call_job(name: str, *arguments: str, code: int | None = 0, **variables: str) -> Result:
    """Return what a job printed; AssertionError if it ends with another exit code, or any traceback.

    Args:
        name: of the module in `jobs`.
        code: the expected exit code; None for any.
        variables: of the environment.
    """
    command = importlib.import_module(f"jobs.{name}").main
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # A job configures the root logger if it has no handlers; here pytest's are there.
    root.handlers.clear()
    try:
        done = CliRunner(env=variables).invoke(command, arguments)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert code in (None, done.exit_code), done.output
    assert "Traceback" not in done.stderr
    return done

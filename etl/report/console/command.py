"""The decorator of every job: one place for errors, interrupts, output and exit codes.

It imports nothing heavy, so that a job answers `--help` at once; jobs import the rest where they use it.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

import click

from etl.core.errors import EXIT_UNEXPECTED, EtlError, RunError
from etl.core.secrets import without_secrets
from etl.report.console.streams import forgive_output, kept_streams, output_failure
from etl.run.signals import exit_code, terminable
from etl.run.submit import OWN_COMMAND, SUBMITTED_AS, typed_program

Result = TypeVar("Result")

EXIT_NOT_INSTALLED = 2
_EXTRAS = {"onnxruntime": "derive", **dict.fromkeys(("torch", "onnx", "onnxscript", "safetensors"), "learn")}
"""Extra of this package that brings a module; all others come with `build`."""

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a value; repeatable."
)
"""Option of the commands that read a config."""


def version_option(function: Callable[..., Result]) -> Callable[..., Result]:
    """Give a job the options `--version` and `--as-of`; the job gets what they name as `number`."""

    @click.option(
        "--version",
        "version_text",
        metavar="N|TAG",
        help="Version of the store, by number or tag.  [default: the current one]",
    )
    @click.option(
        "--as-of",
        "as_of",
        metavar="DATE",
        help="The version that was current then, such as 2026-01-31 (UTC).",
    )
    @functools.wraps(function)
    def chosen(*arguments: object, version_text: str | None, as_of: str | None, **options: object) -> Result:
        from etl.store.version_list import parse_wanted

        try:
            number = parse_wanted(version_text, as_of)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--version, --as-of") from error
        return function(*arguments, number=number, **options)

    return chosen


def job(when_stopped: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Return a decorator that ends a job with one message and the exit code of its error.

    An EtlError ends it with the error's own code, Ctrl-C with 130, SIGTERM with 143 and SIGHUP with 129. If
    the result could not be printed (a full disk, not a closed pipe), it ends with 4. No message has a secret.

    Args:
        when_stopped: what an interrupted job leaves, for the message that repeats the command line.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def run(*arguments: object, **options: object) -> Result:
            with kept_streams():
                try:
                    with terminable():
                        result = function(*arguments, **options)
                    _check_output()
                    return result
                except EtlError as error:
                    click.echo(f"error: {error}", err=True)
                    sys.exit(error.exit_code)
                except ModuleNotFoundError as error:
                    missing = (error.name or "etl").partition(".")[0]
                    if missing == "etl":
                        raise
                    click.echo(
                        f"error: this needs {error.name}, which is not installed: "
                        f"pip install 'deeplesion-store[{_EXTRAS.get(missing, 'build')}]'",
                        err=True,
                    )
                    sys.exit(EXIT_NOT_INSTALLED)
                except KeyboardInterrupt as stop:
                    again = f"Continue with the same command: {typed_command()}"
                    click.echo(f"stopped; {when_stopped}. {without_secrets(again)}", err=True)
                    sys.exit(exit_code(stop))
                except (click.ClickException, click.exceptions.Exit, click.Abort):
                    raise
                except Exception as error:
                    # Python prints it otherwise, with whatever a URL in it holds.
                    click.echo(
                        without_secrets("".join(traceback.format_exception(error))), err=True, nl=False
                    )
                    sys.exit(EXIT_UNEXPECTED)

        return run

    return decorate


def print_done(text: str) -> None:
    """Print the last lines of work that is done: that they can't be printed is no failure of it."""
    failed_before = output_failure()
    click.echo(text)
    if failed_before is None and (failure := output_failure()):
        click.echo(f"done, but its result can't be printed ({failure.strerror}):\n{text}", err=True)
        forgive_output()


def _check_output() -> None:
    if failure := output_failure():
        raise RunError(
            "the result can't be printed",
            where="standard output",
            value=str(failure),
            remedy="free some space, or send the output elsewhere, and run the same again",
        )


def typed_command() -> str:
    """Return the command line that started this process, as it was typed, quoted for a shell."""
    submitted_as = os.environ.get(SUBMITTED_AS)
    if submitted_as:
        return shlex.join([*shlex.split(submitted_as), *sys.argv])
    if os.path.basename(sys.argv[0]) == OWN_COMMAND:
        return shlex.join([typed_program(sys.argv[0]), *sys.argv[1:]])
    return shlex.join(sys.orig_argv)

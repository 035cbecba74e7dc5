"""The errors of this package and the exit codes that jobs end with.

    EtlError
    +-- ConfigError   2  a wrong config, command line or environment; raised before any work
    +-- SourceError   2  the release can't be used at all: no CSV, no columns, nothing in it
    +-- StoreError    2  the store can't be written or read
        +-- AbsentError  the version is whole, and has no such lesion, patient, volume, model or table
    +-- GuardError    3  built, but publishing was refused; nothing was published
    +-- RunError      4  the machine failed after retries; what was finished is kept
    +-- OverlapError  5  another build is running on the store, and `overlap` is `leave`
    +-- SliceError       one slice can't be used; becomes a row in `rejects`, never ends a run

A message says what happened, where, the value, what was allowed, and the remedy. It holds no secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etl.core.rejects import Reason
from etl.core.secrets import without_secrets

EXIT_UNEXPECTED = 1
MOST_CHARACTERS = 4000
"""Longest text of one part of a message; foreign input decides how long it would be."""


class EtlError(Exception):
    """An error that a user can act on.

    Args:
        what: the fault, in one line.
        where: the file, archive, member, row or key at fault.
        value: the offending value, shown with `repr`; left out where None.
        allowed: the values that are accepted.
        remedy: the user's next step.
    """

    exit_code = EXIT_UNEXPECTED

    def __init__(
        self, what: str, *, where: str = "", value: Any = None, allowed: str = "", remedy: str = ""
    ) -> None:
        self.what, self.where, self.allowed, self.remedy = map(_shown, (what, where, allowed, remedy))
        self.value = _shown(value) if isinstance(value, str) else value
        lines = [self.what]
        if where:
            lines.append(f"  where:   {self.where}")
        if value is not None:
            lines.append(f"  value:   {_shown(repr(value))}")
        if allowed:
            lines.append(f"  allowed: {self.allowed}")
        if remedy:
            lines.append(f"  remedy:  {self.remedy}")
        super().__init__("\n".join(lines))


def _shown(text: str) -> str:
    """Return a text for a message: without secrets, and cut if it is long."""
    # A secret that the first cut divides is not in what the second one leaves.
    shown = without_secrets(text[: 4 * MOST_CHARACTERS])
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 4]} ..."


@contextmanager
def explained(
    kind: type[EtlError], what: str, *, where: str = "", allowed: str = "", remedy: str = ""
) -> Iterator[None]:
    """Turn an OSError into an error of this package, with the system's answer as its value."""
    try:
        yield
    except OSError as error:
        raise kind(what, where=where, value=str(error), allowed=allowed, remedy=remedy) from error


class ConfigError(EtlError):
    """The config, the command line or the environment is wrong."""

    exit_code = 2


class SourceError(EtlError):
    """The release can't be used as a whole."""

    exit_code = 2


class StoreError(EtlError):
    """The store can't be written, or does not hold what it should."""

    exit_code = 2


class AbsentError(StoreError):
    """The version that was asked has no such thing, or more than one; nothing is damaged."""


class GuardError(EtlError):
    """A guard refused to publish what was built."""

    exit_code = 3


class RunError(EtlError):
    """Work failed for reasons outside the data, after retries."""

    exit_code = 4


class OverlapError(EtlError):
    """Another build is running on the store, and `overlap` is `leave`."""

    exit_code = 5


class SliceError(Exception):
    """One slice can't be used. `reason` and `message` go into its row of the `rejects` table."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(reason, message)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

"""What fsspec's drivers raise, as OSError: the one kind of error that a place gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_oserrors(where: str) -> Iterator[None]:
    """Turn the errors that drivers have of their own, most for lost connections, into OSError.

    Args:
        where: the place, without secrets, for the message.
    """
    try:
        yield
    except OSError as error:
        if str(error):
            raise
        # A time-out of fsspec's own says nothing.
        name = "no answer in time" if isinstance(error, TimeoutError) else "no reason given"
        raise ConnectionError(f"{where}: {type(error).__name__}: {name}") from error
    except Exception as error:
        if type(error).__module__ == "builtins" or type(error).__module__.startswith("etl."):
            raise  # a fault in a program, or one that says already what it is
        kind = PermissionError if "Credentials" in type(error).__name__ else ConnectionError
        raise kind(f"{where}: {type(error).__name__}: {error}") from error

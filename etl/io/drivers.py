"""fsspec's drivers, which reach buckets: how they are opened, and their errors as OSError.

Endpoint, region and credentials of S3 come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE or
AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, AWS_REGION.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etl.core.errors import ConfigError
from etl.core.secrets import without_secrets
from etl.core.urls import public_url
from etl.io.places import BlobChanged, BlobError, BlobRefused
from etl.io.retries import BusyError

# Attempts of the driver itself at one request; `etl.io.retries` counts and spaces those at an operation.
REQUEST_ATTEMPTS = 2
# Client errors that pass: time-out, another conditional write under way, too early, too many.
_PASSING_STATUS = (408, 409, 425, 429)
# The upload in parts was completed and the reply to that lost: the next attempt starts a new upload.
_PASSING_CODES = ("NoSuchUpload",)
# Passing errors whose answer may say when to come back.
_BUSY_STATUS = (429, 503)

_ACCESS_HINT = " (credentials, public and requester-pays buckets: see `Other buckets` in docs/operations.md)"


class PastTheEndError(BlobError):
    """A range was requested that begins at or after the end."""


def s3_driver(request_attempts: int = REQUEST_ATTEMPTS) -> Any:
    """Return fsspec's driver for S3, without a cache of listings and with few attempts of its own.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import fsspec
        import s3fs  # noqa: F401 - else fsspec raises an ImportError of its own
    except ModuleNotFoundError as error:
        raise ConfigError(
            "buckets are read and written by packages that are not installed",
            value=error.name,
            remedy="pip install 'deeplesion-store[s3]'",
        ) from error

    filesystem = fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        # Reads: with more than one request at a time the driver asks for the size first.
        max_concurrency=1,
        config_kwargs={"retries": {"mode": "standard", "total_max_attempts": request_attempts}},
    )
    # Its attempts would multiply with those of botocore and of `etl.io.retries`.
    filesystem.retries = 1
    return filesystem


@contextmanager
def as_oserrors(where: str) -> Iterator[None]:
    """Turn every error of a driver, most of them lost connections, into an OSError.

    Args:
        where: the place, without secrets, for the message.
    """
    try:
        yield
    except OSError as error:
        if str(error):
            raise
        # A time-out of fsspec's own has no message.
        reason = "no answer in time" if isinstance(error, TimeoutError) else "no reason given"
        raise ConnectionError(f"{where}: {type(error).__name__}: {reason}") from error
    except Exception as error:
        if type(error).__module__ == "builtins" or type(error).__module__.startswith("etl."):
            raise  # a fault in a program, or one that has its message already
        kind = PermissionError if "Credentials" in type(error).__name__ else ConnectionError
        raise kind(f"{where}: {type(error).__name__}: {without_secrets(str(error))}") from error


@contextmanager
def as_blob_errors(url: str) -> Iterator[None]:
    """Turn every error of a driver into a BlobError where another try does not help, else into an OSError."""
    where = public_url(url)
    try:
        with as_oserrors(where):
            yield
    except BlobError:
        raise
    except OSError as error:
        status = status_of(error)
        if status == 412:
            raise BlobChanged(f"{where} changed since it was looked at") from error
        if status == 416:
            raise PastTheEndError(f"{where} ends before the requested range") from error
        if not may_pass(error):
            hint = _ACCESS_HINT if isinstance(error, PermissionError) else ""
            raise BlobRefused(
                f"{where}: {type(error).__name__}: {without_secrets(str(error))}{hint}"
            ) from error
        if str(error).startswith(where):
            raise
        if status in _BUSY_STATUS:
            raise BusyError(f"{where}: {without_secrets(str(error))}", _retry_after_s(error)) from error
        raise ConnectionError(f"{where}: {without_secrets(str(error))}") from error


def may_pass(error: OSError) -> bool:
    """Return whether another try may succeed after this error of a driver."""
    status, code = status_of(error), _answer(error).get("Error", {}).get("Code")
    if status:
        return status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES
    return not isinstance(error, FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError)


def status_of(error: OSError) -> int:
    """Return the HTTP status behind an error of a driver; 0 where there was no answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: OSError) -> str:
    """Return S3's code behind an error of a driver, such as `NoSuchKey`; empty where there was no answer."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _retry_after_s(error: OSError) -> float:
    headers = _answer(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    seconds = str(headers.get("retry-after", ""))
    return float(seconds) if seconds.isdecimal() else 0.0


def _answer(error: OSError) -> dict[str, Any]:
    """Return the server's answer as botocore gives it; empty where there was none."""
    return getattr(error.__cause__, "response", None) or {}

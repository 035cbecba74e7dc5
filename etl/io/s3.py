"""The driver of S3 buckets, asked with care: what may pass is tried again, what isn't taken is broken off.

Endpoint, region and credentials come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import fsspec

from etl.io.drivers import only_oserrors
from etl.io.retries import retried

Result = TypeVar("Result")

# Twice this and more is sent in parts, side by side, so that a lost connection costs one part.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4
# After these, and the time that the bytes take on a slow line, a write is broken off and tried again.
WRITE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 128 << 10
# A bucket that joins objects moves their bytes within itself.
SLOWEST_JOINED_BYTES_PER_SECOND = 4 << 20
# Attempts of the driver at one request; `etl.io.retries` counts and spaces those at the whole operation.
REQUEST_ATTEMPTS = 2
# The most that one request may delete.
DELETED_AT_ONCE = 1000
# Client errors that pass: time-out, another conditional write under way, too early, too many.
PASSING_STATUS = (408, 409, 425, 429)
# The upload of parts was completed, and the reply to that lost: it is written anew.
_PASSING_CODES = ("NoSuchUpload",)


def ask(where: str, question: Callable[[Any], Result]) -> Result:
    """Do something with the driver; what may pass is tried again, the rest raised at once.

    Args:
        where: the place, without secrets, for messages.
        question: called with the driver; may be called more than once.

    Raises:
        OSError: what does not pass, or the last of `etl.io.retries.ATTEMPTS` in a row.
    """

    def attempt() -> Result | OSError:
        try:
            with only_oserrors(where):
                return question(driver())
        except OSError as error:
            if _may_pass(error):
                raise
            return error

    result = retried(attempt)
    if isinstance(result, OSError):
        raise result
    return result


def put(where: str, path: str, data: bytes, mode: str = "overwrite") -> None:
    """Write an object.

    Args:
        mode: `overwrite`, or `create` for FileExistsError, or a status of 412, where it is there.
    """
    parts = {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
    # The driver's own time-outs start to count when all of a body is sent, so a server that takes none of
    # it would be waited for without end.
    seconds = WRITE_SECONDS + len(data) / SLOWEST_BYTES_PER_SECOND
    ask(where, lambda s3: s3.pipe_file(path, data, mode=mode, timeout=seconds, **parts))


def join(where: str, path: str, parts: Sequence[str], size: int) -> None:
    """Let the bucket make one object of others, which stay; no byte travels.

    Args:
        parts: `bucket/key` of each, in order.
        size: bytes of the whole.
    """
    seconds = WRITE_SECONDS + size / SLOWEST_JOINED_BYTES_PER_SECOND
    ask(where, lambda s3: s3.merge(path, list(parts), timeout=seconds))


def remove_all(where: str, paths: Sequence[str]) -> None:
    """Remove objects of one bucket, given as `bucket/key`; nothing where one is not there.

    Raises:
        OSError: some could not be deleted.
    """
    for start in range(0, len(paths), DELETED_AT_ONCE):
        _remove_some(where, paths[start : start + DELETED_AT_ONCE])


def _remove_some(where: str, paths: Sequence[str]) -> None:
    bucket = paths[0].partition("/")[0]
    keys = [{"Key": path.partition("/")[2]} for path in paths]

    def remove(s3: Any) -> None:
        # s3fs's own rm() says nothing of keys that could not be deleted, and takes brackets for patterns.
        answer = s3.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for error in answer.get("Errors", []):
            kind = PermissionError if error.get("Code") == "AccessDenied" else OSError
            raise kind(f"{where}: {error.get('Key')} can't be deleted: {error.get('Message')}")

    ask(where, remove)


def driver(request_attempts: int = REQUEST_ATTEMPTS) -> Any:
    """fsspec's driver, which keeps no listings and leaves attempts to `etl.io.retries`.

    Args:
        request_attempts: its own at one request.
    """
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


def status_of(error: OSError) -> int:
    """The HTTP status behind an error of the driver; 0 where there was no answer."""
    return int(answer_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def answer_of(error: OSError) -> dict[str, Any]:
    """What the server answered with an error, as botocore gives it; empty where there was no answer."""
    return getattr(error.__cause__, "response", None) or {}


def _may_pass(error: OSError) -> bool:
    status, code = status_of(error), answer_of(error).get("Error", {}).get("Code")
    if status:
        return status >= 500 or status in PASSING_STATUS or code in _PASSING_CODES
    return not isinstance(error, FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError)

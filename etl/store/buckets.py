"""A store in an S3 bucket: objects are whole or absent, an exclusive create is `If-None-Match: *`.

Endpoint, region and credentials come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec

from etl.drivers import only_oserrors
from etl.errors import StoreError
from etl.retries import retried
from etl.store.objects import PARTIAL, Listed, checked_name

# The most that one request may delete.
DELETED_AT_ONCE = 1000

Result = TypeVar("Result")

# Twice this and more is sent in parts, side by side, so that a lost connection costs one part.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4
# After these, and the time that the bytes take on a slow line, a write is broken off and tried again.
WRITE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 128 << 10
# Attempts of the driver at one request; `etl.retries` counts and spaces those at the whole operation.
REQUEST_ATTEMPTS = 2
# Client errors that pass: time-out, another conditional write under way, too early, too many.
_PASSING_STATUS = (408, 409, 425, 429)
# The upload of parts was completed, and the reply to that lost: it is written anew.
_PASSING_CODES = ("NoSuchUpload",)


@dataclass(frozen=True)
class BucketObjects:
    """A store below an s3:// URL. See `etl.store.objects.Objects`.

    Attributes:
        root: `s3://bucket/prefix`, without a slash at its end.
    """

    root: str

    def read(self, name: str) -> bytes:
        path = self._path(name)
        return self._ask(lambda s3: bytes(s3.cat_file(path)))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        path = self._path(name)
        return self._ask(lambda s3: bytes(s3.cat_file(path, start=start, end=stop)))

    def size(self, name: str) -> int | None:
        path = self._path(name)
        try:
            return self._ask(lambda s3: int(s3.info(path)["size"]))
        except FileNotFoundError:
            return None

    def listed(self, prefix: str) -> dict[str, Listed]:
        path = self._path(prefix)
        found: dict[str, Any] = self._ask(lambda s3: dict(s3.find(path, detail=True)))
        start = len(path) + 1
        return {
            name[start:]: Listed(int(details["size"]), details["LastModified"].timestamp())
            for name, details in found.items()
            # Of a folder with its first object written meanwhile, s3fs lists the folder itself.
            if details["type"] == "file"
        }

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item.bytes for name, item in self.listed(prefix).items()}

    def write(self, name: str, *pieces: bytes) -> None:
        self._put(name, b"".join(pieces), "overwrite")

    def create(self, name: str, data: bytes) -> bool:
        try:
            self._put(name, data, "create")
        except FileExistsError:
            return False
        except OSError as error:
            if _status(error) == 412:
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        path = self._path(name)
        self._ask(lambda s3: s3.rm_file(path))

    def remove_all(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), DELETED_AT_ONCE):
            self._remove_some(names[start : start + DELETED_AT_ONCE])

    def _remove_some(self, names: Sequence[str]) -> None:
        bucket = self._path(names[0]).partition("/")[0]
        keys = [{"Key": self._path(name).partition("/")[2]} for name in names]

        def remove(s3: Any) -> None:
            # s3fs's own rm() says nothing of keys that could not be deleted.
            answer = s3.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", []):
                kind = PermissionError if error.get("Code") == "AccessDenied" else OSError
                raise kind(f"{self.root}: {error.get('Key')} can't be deleted: {error.get('Message')}")

        self._ask(remove)

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(f"{prefix}/{name}" for name in self.sizes(prefix))

    def check_writable(self) -> None:
        name = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        try:
            # A lost reply makes another try at this fail although the first one wrote it.
            self.create(name, b"probe")
            if self.read(name) != b"probe":
                raise StoreError("the store does not give back what was written", where=self.root)
            overwrites = self.create(name, b"other")
            self.remove(name)
        except OSError as error:
            raise StoreError(
                "the store can't be written",
                where=self.root,
                value=str(error),
                allowed="a bucket that these credentials may read, list, write and delete in",
                remedy="check the bucket's name, AWS_PROFILE or AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL",
            ) from error
        if overwrites:
            raise StoreError(
                "the endpoint ignores `If-None-Match: *`: an exclusive create overwrote an object",
                where=self.root,
                remedy="publishing is not safe there; use one with conditional writes, as AWS S3 has",
            )

    def free_bytes(self) -> int | None:
        return None

    def _path(self, name: str) -> str:
        return "/".join((self.root.removeprefix("s3://"), *checked_name(name)))

    def _put(self, name: str, data: bytes, mode: str) -> None:
        path, parts = self._path(name), {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        # The driver's own time-outs start to count when all of a body is sent, so a server that takes none of
        # it would be waited for without end.
        seconds = WRITE_SECONDS + len(data) / SLOWEST_BYTES_PER_SECOND
        self._ask(lambda s3: s3.pipe_file(path, data, mode=mode, timeout=seconds, **parts))

    def _ask(self, ask: Callable[[Any], Result]) -> Result:
        """Do something with the driver; what may pass is tried again, the rest raised at once."""

        def attempt() -> Result | OSError:
            try:
                with only_oserrors(self.root):
                    return ask(_filesystem())
            except OSError as error:
                if _may_pass(error):
                    raise
                return error

        result = retried(attempt)
        if isinstance(result, OSError):
            raise result
        return result


def _filesystem() -> Any:
    filesystem = fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        # Reads: with more than one request at a time the driver asks for the size first.
        max_concurrency=1,
        config_kwargs={"retries": {"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS}},
    )
    # Its attempts would multiply with those of botocore and of `etl.retries`.
    filesystem.retries = 1
    return filesystem


def _may_pass(error: OSError) -> bool:
    status, code = _status(error), _answer(error).get("Error", {}).get("Code")
    if status:
        return status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES
    return not isinstance(error, FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError)


def _status(error: OSError) -> int:
    """The HTTP status behind an error of s3fs; 0 where there was no answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: OSError) -> dict[str, Any]:
    return getattr(error.__cause__, "response", None) or {}

"""Stores and staging areas in S3 buckets. An exclusive create is a write with `If-None-Match: *`."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from etl.core.errors import StoreError, explained
from etl.io.drivers import as_oserrors, code_of, may_pass, s3_driver, status_of
from etl.io.places import PARTIAL, Listed, PartGoneError, checked_name
from etl.io.retries import RetryBudget, retried

Result = TypeVar("Result")

# Answers of older MinIO, CubeFS and others to a batch of deletions, for which botocore sends no Content-MD5.
_NO_BATCHES = ("MissingContentMD5", "InvalidDigest", "NotImplemented", "MethodNotAllowed")
_SINGLE_DELETES_AT_ONCE = 16


@dataclass(frozen=True)
class WriteSettings:
    """Sizes and times of writes to a bucket.

    Attributes:
        part_bytes, parts_at_once: an object of two parts and more is sent in parts, side by side, so that a
            lost connection costs one part.
        least_s: seconds that any write may take, above those for its bytes. The driver's own timeout starts
            when all of a body is sent, so a server that takes none of it would be waited for without end.
        slowest_bytes_per_s: rate of the slowest line that a write survives.
        slowest_joined_bytes_per_s: the same where a bucket joins objects within itself.
        deleted_at_once: most objects that one request may delete.
    """

    part_bytes: int = 16 << 20
    parts_at_once: int = 4
    least_s: float = 60.0
    slowest_bytes_per_s: int = 128 << 10
    slowest_joined_bytes_per_s: int = 4 << 20
    deleted_at_once: int = 1000


def spanning(ranges: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most so many ranges that cover the given ones, and the fewest bytes between them.

    Args:
        ranges: [start, stop), ascending.
    """
    gaps = sorted(range(1, len(ranges)), key=lambda n: ranges[n - 1][1] - ranges[n][0])
    cuts = [0, *sorted(gaps[: most - 1]), len(ranges)]
    return [(ranges[a][0], ranges[b - 1][1]) for a, b in itertools.pairwise(cuts)] if ranges else []


@dataclass(frozen=True)
class BucketObjects:
    """A store below an s3:// URL. See `etl.io.places.Objects`.

    Attributes:
        root: `s3://bucket/prefix`, without a slash at its end.
    """

    root: str
    settings: WriteSettings = field(default=WriteSettings(), repr=False)

    def url(self, name: str) -> str:
        return f"s3://{self._path(name)}"

    def read(self, name: str) -> bytes:
        path = self._path(name)
        return self._ask(lambda driver: bytes(driver.cat_file(path)))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        path = self._path(name)
        return self._ask(lambda driver: bytes(driver.cat_file(path, start=start, end=stop)))

    def read_end(self, name: str, count: int) -> bytes:
        path = self._path(name)
        return self._ask(lambda driver: bytes(driver.cat_file(path, start=-count)))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], requests: int) -> list[memoryview]:
        path = self._path(name)
        spans = spanning(ranges, requests)
        starts, stops = [start for start, _ in spans], [stop for _, stop in spans]
        read: list[bytes] = self._ask(
            lambda driver: _all_arrived(driver.cat_ranges([path] * len(spans), starts, stops))
        )
        found, at = [], 0
        for start, stop in ranges:
            while stop > stops[at]:
                at += 1
            found.append(memoryview(read[at])[start - starts[at] : stop - starts[at]])
        return found

    def size(self, name: str) -> int | None:
        path = self._path(name)
        try:
            entry = self._ask(lambda driver: driver.info(path))
        except FileNotFoundError:
            return None
        return int(entry["size"]) if entry["type"] == "file" else None

    def listed(self, prefix: str) -> dict[str, Listed]:
        path = self._path(prefix)
        bucket, _, key = path.partition("/")
        # Given the key as a prefix, s3fs takes one request for an empty folder; given the path, three.
        found: dict[str, Any] = self._ask(
            lambda driver: dict(driver.find(bucket, prefix=f"{key}/", detail=True))
        )
        start = len(path) + 1
        return {
            name[start:]: Listed(int(details["size"]), details["LastModified"].timestamp())
            for name, details in found.items()
            if details["type"] == "file"
        }

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item.bytes for name, item in self.listed(prefix).items()}

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(f"{prefix}/{name}" for name in self.sizes(prefix))

    def write(self, name: str, *pieces: bytes) -> None:
        self._put(self._path(name), b"".join(pieces))

    def create(self, name: str, data: bytes) -> bool:
        try:
            self._put(self._path(name), data, "create")
        except FileExistsError:
            return False
        except OSError as error:
            if status_of(error) == 412:
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        path = self._path(name)
        self._ask(lambda driver: driver.rm_file(path))

    def remove_all(self, names: Sequence[str]) -> None:
        self._delete([self._path(name) for name in names])

    def check_writable(self) -> None:
        name = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        with explained(
            StoreError,
            "the store can't be written",
            where=self.root,
            allowed="a bucket that these credentials may read, list, write and delete in",
            remedy="check the bucket's name, AWS_PROFILE or AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL; see "
            "`Other buckets` in docs/operations.md",
        ):
            # A lost reply makes another try at this fail although the first one wrote it.
            self.create(name, b"probe")
            if self.read(name) != b"probe":
                raise StoreError("the store does not give back what was written", where=self.root)
            overwrites = self.create(name, b"other")
            self.remove(name)
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

    def _ask(self, request: Callable[[Any], Result]) -> Result:
        """Call `request` with the driver, again after errors that may pass. Raises OSError."""

        def attempt() -> Result:
            with as_oserrors(self.root):
                return request(s3_driver())

        return retried(attempt, RetryBudget(), may_pass=may_pass)

    def _put(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        """Write an object. Mode `create` raises FileExistsError, or a status of 412, where it exists."""
        settings = self.settings
        parts = {"chunksize": settings.part_bytes, "max_concurrency": settings.parts_at_once}
        seconds = settings.least_s + len(data) / settings.slowest_bytes_per_s
        self._ask(lambda driver: driver.pipe_file(path, data, mode=mode, timeout=seconds, **parts))

    def _delete(self, paths: Sequence[str]) -> None:
        """Delete objects given as `bucket/key`, those that exist; one by one where there are no batches."""
        for start in range(0, len(paths), self.settings.deleted_at_once):
            some = paths[start : start + self.settings.deleted_at_once]
            bucket = some[0].partition("/")[0]
            keys = [{"Key": path.partition("/")[2]} for path in some]
            try:
                self._ask(lambda driver: self._delete_some(driver, bucket, keys))  # noqa: B023
            except OSError as error:
                if code_of(error) not in _NO_BATCHES:
                    raise
                with ThreadPoolExecutor(_SINGLE_DELETES_AT_ONCE) as pool:
                    list(pool.map(self._delete_one, paths[start:]))
                return

    def _delete_one(self, path: str) -> None:
        self._ask(lambda driver: driver.rm_file(path))

    def _delete_some(self, driver: Any, bucket: str, keys: Sequence[dict[str, str]]) -> None:
        # s3fs's own rm() hides keys that could not be deleted, and takes brackets for patterns.
        answer = driver.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for error in answer.get("Errors", []):
            kind = PermissionError if error.get("Code") == "AccessDenied" else OSError
            raise kind(f"{self.root}: {error.get('Key')} can't be deleted: {error.get('Message')}")


def _all_arrived(answers: list[bytes | Exception]) -> list[bytes]:
    """Raise the first error among the answers to ranges, which fsspec 2025 returns whatever it is asked."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return cast("list[bytes]", answers)


@dataclass(frozen=True)
class BucketStaging(BucketObjects):
    """Archives on their way, in a bucket. See `etl.io.places.StagingArea`.

    A part is one object a block, named by its first byte; the bucket itself joins them.
    """

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            super().remove(name)

    def names(self, prefix: str) -> Sequence[str]:
        return [name for name, _ in self._entries(self.root, prefix)]

    def part_names(self, prefix: str) -> Sequence[str]:
        return [name for name, _ in self._entries(f"{self.root}/{PARTIAL}", prefix, "directory")]

    def part_bytes(self, name: str) -> int:
        return sum(size for _, size in self._blocks(name))

    def append(self, name: str, at: int, block: bytes) -> None:
        self._put(f"{self._part(name)}/{at:015d}", block)

    def read_part(self, name: str) -> Iterator[bytes]:
        for path, _ in self._blocks(name):
            try:
                yield self._ask(lambda driver: bytes(driver.cat_file(path)))  # noqa: B023
            except FileNotFoundError as error:
                raise PartGoneError(name) from error

    def finish(self, name: str, size: int) -> None:
        blocks = self._blocks(name)
        if sum(block_bytes for _, block_bytes in blocks) != size:
            raise PartGoneError(name)
        seconds = self.settings.least_s + size / self.settings.slowest_joined_bytes_per_s
        paths = [path for path, _ in blocks]
        try:
            self._ask(lambda driver: driver.merge(self._path(name), paths, timeout=seconds))
        except FileNotFoundError as error:
            raise PartGoneError(name) from error
        self.discard(name)

    def discard(self, name: str) -> None:
        part = self._part(name)
        self._delete([f"{part}/{block}" for block, _ in self._entries(part)])

    def _part(self, name: str) -> str:
        return f"{self.root.removeprefix('s3://')}/{PARTIAL}/{name}"

    def _blocks(self, name: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of the blocks from the first on, up to the first gap."""
        part = self._part(name)
        sizes = {int(block): size for block, size in self._entries(part) if block.isdecimal()}
        blocks: list[tuple[str, int]] = []
        at = 0
        while sizes.get(at):
            blocks.append((f"{part}/{at:015d}", sizes[at]))
            at += sizes[at]
        return blocks

    def _entries(self, folder: str, prefix: str = "", kind: str = "file") -> list[tuple[str, int]]:
        """Return (name, bytes) of the files, or folders, in a folder, in order."""
        try:
            entries = self._ask(lambda driver: driver.ls(folder, detail=True, refresh=True))
        except FileNotFoundError:
            return []
        named = ((entry["name"].rsplit("/", 1)[-1], int(entry["size"]), entry["type"]) for entry in entries)
        return sorted(
            (name, size) for name, size, type_ in named if type_ == kind and name.startswith(prefix)
        )

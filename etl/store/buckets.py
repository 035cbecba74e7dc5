"""A store in an S3 bucket: objects are whole or absent, an exclusive create is `If-None-Match: *`.

Endpoint, region and credentials come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec

from etl.drivers import only_oserrors
from etl.errors import StoreError
from etl.store.objects import PARTIAL, Listed, checked_name

# The most that one request may delete.
DELETED_AT_ONCE = 1000


@dataclass(frozen=True)
class BucketObjects:
    """A store below an s3:// URL. See `etl.store.objects.Objects`.

    Attributes:
        root: `s3://bucket/prefix`, without a slash at its end.
    """

    root: str

    def read(self, name: str) -> bytes:
        with only_oserrors(self.root):
            data: bytes = self._filesystem().cat_file(self._path(name))
        return data

    def size(self, name: str) -> int | None:
        try:
            with only_oserrors(self.root):
                return int(self._filesystem().info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def listed(self, prefix: str) -> dict[str, Listed]:
        with only_oserrors(self.root):
            found = self._filesystem().find(self._path(prefix), detail=True)
        start = len(self._path(prefix)) + 1
        return {
            path[start:]: Listed(int(details["size"]), details["LastModified"].timestamp())
            for path, details in found.items()
            # Of a folder with its first object written meanwhile, s3fs lists the folder itself.
            if details["type"] == "file"
        }

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item.bytes for name, item in self.listed(prefix).items()}

    def write(self, name: str, data: bytes | memoryview) -> None:
        with only_oserrors(self.root):
            self._filesystem().pipe_file(self._path(name), bytes(data))

    def create(self, name: str, data: bytes) -> bool:
        try:
            with only_oserrors(self.root):
                self._filesystem().pipe_file(self._path(name), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            answer = getattr(error.__cause__, "response", None) or {}
            # 412: it exists. 409: another create of it is under way.
            if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        with only_oserrors(self.root):
            self._filesystem().rm_file(self._path(name))

    def remove_all(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), DELETED_AT_ONCE):
            paths = [self._path(name) for name in names[start : start + DELETED_AT_ONCE]]
            keys = [{"Key": path.partition("/")[2]} for path in paths]
            with only_oserrors(self.root):
                # s3fs's own rm() says nothing of keys that could not be deleted.
                answer = self._filesystem().call_s3(
                    "delete_objects",
                    Bucket=paths[0].partition("/")[0],
                    Delete={"Objects": keys, "Quiet": True},
                )
            for error in answer.get("Errors", []):
                raise OSError(f"{self.root}: {error.get('Key')} can't be deleted: {error.get('Message')}")

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(f"{prefix}/{name}" for name in self.sizes(prefix))

    def check_writable(self) -> None:
        name = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        try:
            if not self.create(name, b"probe") or self.read(name) != b"probe":
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

    @staticmethod
    def _filesystem() -> Any:
        filesystem = fsspec.filesystem("s3")
        filesystem.invalidate_cache()
        return filesystem

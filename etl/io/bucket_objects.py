"""A store in an S3 bucket: objects are whole or absent, an exclusive create is `If-None-Match: *`.

Endpoint, region and credentials come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from etl.core.errors import StoreError
from etl.io import s3
from etl.io.objects import PARTIAL, Listed, checked_name

Result = TypeVar("Result")


@dataclass(frozen=True)
class BucketObjects:
    """A store below an s3:// URL. See `etl.io.objects.Objects`.

    Attributes:
        root: `s3://bucket/prefix`, without a slash at its end.
    """

    root: str

    def read(self, name: str) -> bytes:
        path = self._path(name)
        return self._ask(lambda driver: bytes(driver.cat_file(path)))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        path = self._path(name)
        return self._ask(lambda driver: bytes(driver.cat_file(path, start=start, end=stop)))

    def size(self, name: str) -> int | None:
        path = self._path(name)
        try:
            return self._ask(lambda driver: int(driver.info(path)["size"]))
        except FileNotFoundError:
            return None

    def listed(self, prefix: str) -> dict[str, Listed]:
        path = self._path(prefix)
        found: dict[str, Any] = self._ask(lambda driver: dict(driver.find(path, detail=True)))
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
            if s3.status_of(error) == 412:
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        path = self._path(name)
        self._ask(lambda driver: driver.rm_file(path))

    def remove_all(self, names: Sequence[str]) -> None:
        s3.remove_all(self.root, [self._path(name) for name in names])

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
        s3.put(self.root, self._path(name), data, mode)

    def _ask(self, question: Callable[[Any], Result]) -> Result:
        return s3.ask(self.root, question)

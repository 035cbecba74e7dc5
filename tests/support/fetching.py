"""Fetch an archive as workers do: call after call, here or in a process of its own that can be killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import resource
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess

from etl.io.opening import open_blob, open_staging
from etl.io.places import StagingArea
from etl.io.retries import default_settings
from etl.staging.fetch import Fetched, Fetcher, RemoteArchive, remote_archive
from tests.support.http_faults import Fault
from tests.support.servers import HttpServer

BLOCK_BYTES = 65_536


def archive_bytes(size: int, seed: int = 1) -> bytes:
    """Bytes that begin as an archive does."""
    return b"PK\x03\x04" + random.Random(seed).randbytes(size - 4)


# 12 blocks, the last one shorter.
CONTENT = archive_bytes(11 * BLOCK_BYTES + 1234)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RANGES = [(at, min(at + BLOCK_BYTES, SIZE)) for at in range(0, SIZE, BLOCK_BYTES)]


def looked_at(url: str, sha256: str = "") -> RemoteArchive:
    """The archive as a plan describes it."""
    info, archive = open_blob(url).info(), remote_archive(url, sha256)
    return RemoteArchive(archive.url, archive.name, info.bytes, sha256, info.tag, info.has_ranges)


def serve_archive(server: HttpServer, *faults: Fault | None, sha256: str = SHA256) -> RemoteArchive:
    """Put the archive on the server, look at it, forget the look, and let the next requests fail."""
    archive = looked_at(server.put("/a.zip", CONTENT) + "?sig=secret", sha256)
    server.requests.clear()
    server.faults["/a.zip"] = list(faults)
    return archive


def fetch(fetcher: Fetcher, archive: RemoteArchive) -> list[Fetched]:
    """Call until the archive is whole or refused."""
    results = [fetcher(archive)]
    while not results[-1].is_whole and results[-1].reason is None:
        results.append(fetcher(results[-1].archive))
        assert len(results) < 1000
    return results


@dataclass(frozen=True)
class Staged:
    """A staging area and what fetches into it."""

    root: str

    @property
    def fetcher(self) -> Fetcher:
        return self.fetcher_of(4)

    def fetcher_of(self, blocks_a_task: int) -> Fetcher:
        settings = replace(default_settings(), block_bytes=BLOCK_BYTES, blocks_a_task=blocks_a_task)
        return Fetcher(self.root, settings)

    @property
    def area(self) -> StagingArea:
        return open_staging(self.root)

    def content(self, archive: RemoteArchive) -> bytes:
        url = self.area.url(archive.staged_name)
        return open_blob(url).read(0, self.area.size(archive.staged_name) or 0)

    def assert_holds_only(self, archive: RemoteArchive, content: bytes = CONTENT) -> None:
        assert self.content(archive) == content
        assert self.area.names("") == [archive.staged_name]
        assert self.area.part_names("") == []

    def assert_is_empty(self) -> None:
        assert self.area.names("") == self.area.part_names("") == []


def start_fetching(fetcher: Fetcher, archive: RemoteArchive, largest_file_bytes: int = -1) -> BaseProcess:
    """`fetch` in another process; exits with 0 when the archive is whole, 28 when a write was refused."""
    process = multiprocessing.get_context("spawn").Process(
        target=_fetch_and_exit, args=(fetcher, archive, largest_file_bytes), daemon=True
    )
    process.start()
    return process


def _fetch_and_exit(fetcher: Fetcher, archive: RemoteArchive, largest_file_bytes: int) -> None:
    if largest_file_bytes >= 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
    try:
        raise SystemExit(0 if fetch(fetcher, archive)[-1].is_whole else 1)
    except OSError:
        raise SystemExit(28) from None

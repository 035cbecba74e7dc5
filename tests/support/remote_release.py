"""A small release on a server or in a bucket, and what a store made of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result

from etl.pipeline.build import Build, build, load_plan, stage_unread
from etl.release.names import parse_series_id
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store.layout import receipt_path
from etl.store.reader import open_store
from tests.support.jobs import call_job
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer
from tests.support.stored import config_of, read_versions, table_bytes, without_run, write_config

ARCHIVES = ("Images_png_01.zip", "Images_png_02.zip", "Images_png_03.zip")
CSV = "DL_info.csv"
BLOCK_BYTES = 1 << 20
# Every directory of the release is smaller.
TAIL_BYTES = 50_000

# Volume -> the archives that hold its slices.
VOLUMES = {
    "000001_01_01_103-115": {1},
    "000002_01_01_020-032": {1, 2},
    "000002_01_01_034-045": {2, 3},
    "000002_02_01_008-019": {3},
}


def store_data(store: Path, source: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A config of a quick build, as a YAML file would give it."""
    return {
        "store": str(store),
        "source": source,
        "volume": {"spacing_mm": 3.0},
        "limits": {"rejects": 0.05},
        "cluster": "serial",
    } | sections


def local_source(release: Path) -> dict[str, Any]:
    return {"annotations": str(release / CSV), "archives": [str(release / "Images_png_*.zip")]}


@dataclass(frozen=True)
class InBucket:
    """The release in a bucket."""

    bucket: Bucket
    release: Path

    @classmethod
    def of(cls, bucket: Bucket, release: Path) -> InBucket:
        held = cls(bucket, release)
        held.mend()
        return held

    def mend(self) -> None:
        """Put the release there, whole."""
        for name in (CSV, *ARCHIVES):
            self.put(name, (self.release / name).read_bytes())

    def put(self, name: str, content: bytes) -> None:
        """Put another object under one of the release's names."""
        self.bucket.put(f"release/{name}", content)

    def source(self, **keys: Any) -> dict[str, Any]:
        """The config's section: annotations and archives in the bucket; `keys` replace or add some."""
        archives = [f"{self.url}/{name}" for name in ARCHIVES]
        return {"annotations": f"{self.url}/{CSV}", "archives": archives} | keys

    @property
    def url(self) -> str:
        return f"{self.bucket.url}/release"


@dataclass(frozen=True)
class Served:
    """The release on an HTTP server."""

    server: HttpServer
    release: Path

    @classmethod
    def of(cls, server: HttpServer, release: Path) -> Served:
        served = cls(server, release)
        served.mend()
        return served

    def mend(self) -> None:
        """Serve the release, whole and without faults; the log is empty again."""
        for name in (CSV, *ARCHIVES):
            self.server.put(f"/{name}", (self.release / name).read_bytes())
        self.server.chance = lambda request: None
        self.server.has_ranges = True
        self.server.requests.clear()

    def put(self, name: str, content: bytes) -> None:
        """Serve another file under one of the release's names."""
        self.server.put(f"/{name}", content)

    def source(self, **keys: Any) -> dict[str, Any]:
        """The config's section: annotations and archives by HTTP; `keys` replace or add some."""
        archives = [f"{self.server.url}/{name}" for name in ARCHIVES]
        return {"annotations": f"{self.server.url}/{CSV}", "archives": archives} | keys

    def bytes(self, number: int) -> int:
        """Size of an archive."""
        return (self.release / ARCHIVES[number - 1]).stat().st_size

    def reads(self, number: int) -> list[tuple[int, int] | None]:
        """Ranges of an archive asked for, but for the look at its head and its directory."""
        size = self.bytes(number)
        looks = ((0, 4), (max(0, size - TAIL_BYTES), size))
        return [asked for asked in self.server.ranges(f"/{ARCHIVES[number - 1]}") if asked not in looks]

    def looks(self, number: int) -> int:
        """Requests for an archive's head and directory."""
        return len(self.server.ranges(f"/{ARCHIVES[number - 1]}")) - len(self.reads(number))


def assert_the_second_archive_goes_on(data: dict[str, Any], served: Served, expected: Path) -> None:
    """After a run for which only the first archive and a part of the second had room: nothing comes twice."""
    served.server.requests.clear()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (3, 1)
    assert served.reads(1) == []
    first = served.reads(2)[0]
    assert first is not None
    assert first[0] >= BLOCK_BYTES
    assert_same_store(Path(data["store"]), expected)


def receipts(store: Path) -> set[str]:
    """The volumes that the store has whole."""
    return {path.parent.name for path in store.glob("volumes/*/*.receipt.json")}


def published_bytes(store: Path) -> dict[str, bytes]:
    """All that the newest version names, by path: tables (less the run's name) and the volumes' files."""
    version = read_versions(store)[-1]
    contents = table_bytes(store, version)
    for volume in version["volumes"]:
        folder = store / volume["path"]
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files, folder
        files.append(store / receipt_path(volume["path"]))
        contents |= {path.relative_to(store).as_posix(): path.read_bytes() for path in files}
    return contents


def published_facts(store: Path) -> dict[str, Any]:
    """The newest version's content but for the run, the place of the release, and what it follows."""
    facts = without_run(read_versions(store)[-1])
    for key in ("source", "limits"):
        del facts["config"][key]
    return {key: value for key, value in facts.items() if key not in ("version", "parent")}


def assert_same_store(store: Path, expected: Path) -> None:
    """Readers of the newest versions see the same, byte for byte."""
    assert published_bytes(store) == published_bytes(expected)
    assert published_facts(store) == published_facts(expected)


def assert_accounts(store: Path) -> None:
    """Every row and every slice is in a volume, rejected with a reason, or not selected; none twice."""
    counts = read_versions(store)[-1]["counts"]
    opened = open_store(str(store))
    slices, lesions, rejects = opened.slices(), opened.lesions(), opened.rejects()
    kinds = rejects["kind"].value_counts()
    missing = int((rejects["reason"] == "slice_missing").sum())
    assert len(lesions) + kinds.get("row", 0) + counts["rows_not_selected"] == counts["rows_found"]
    rejected = kinds.get("slice", 0) - missing
    assert len(slices) + rejected + counts["slices_not_selected"] == counts["slices_found"]
    assert (counts["slices"], counts["slices_rejected"]) == (len(slices), rejected)
    built = set(
        zip(
            slices["patient_index"],
            slices["study_index"],
            slices["series_index"],
            slices["slice_index"],
            strict=True,
        )
    )
    assert len(built) == len(slices)
    lost = rejects[(rejects["kind"] == "slice") & rejects["series_id"].notna()]
    for series, index in zip(lost["series_id"], lost["slice_index"], strict=True):
        key = parse_series_id(series)
        assert key is not None
        assert (*key, index) not in built


def build_as_job(data: dict[str, Any], executor: Executor) -> Build:
    """The steps of `jobs/build_store.py`."""
    config = config_of(data)
    plan = stage_unread(config, load_plan(config), executor)
    return build(config, plan, executor)


def build_by_command(folder: Path, data: dict[str, Any], *arguments: str, code: int = 0) -> Result:
    """Write a config into a folder, build by the command, and return what it printed; see `call_job`."""
    return call_job("build_store", write_config(folder, data), *arguments, code=code)

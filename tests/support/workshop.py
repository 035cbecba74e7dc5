"""Builds of releases that are put together of good and damaged parts."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from etl.core.config import Config
from etl.core.config_file import load_config
from etl.pipeline.build import Build, build, load_plan
from etl.plan.plan import Plan
from etl.release.annotation_columns import COLUMNS
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support import zips

Row = dict[str, str]

# The release: series 000001_01_01 has slices 103 to 115 and rows 0 (key slice 108), 1 (108) and 2 (109),
# 000002_01_01 slices 20 to 45 without 33 and rows 3 (26) and 4 (39), 000002_02_01 slices 8 to 19 and row 5
# (13).
SLICE_33 = ("slice", "slice_missing", "DL_info.csv row 3: 000002_01_01_033.png")
FIRST_VOLUME = "000001_01_01_103-115"


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of slices, given by their names `PPPPPP_SS_RR/NNN.png`."""
    return zips.zipped({f"Images_png/{name}": body for name, body in members.items()}, method)


@dataclass(frozen=True)
class Outcome:
    """A build that published: its plan, what it did, and the store that it left."""

    plan: Plan
    build: Build
    store: Store

    @property
    def rejects(self) -> list[tuple[str, str, str]]:
        """(kind, reason, found_in) of every reject but the undamaged release's own."""
        columns = ("kind", "reason", "found_in")
        found = list(zip(*(self.store.rejects()[name].tolist() for name in columns), strict=True))
        return [reject for reject in found if reject != SLICE_33]

    @property
    def fingerprints(self) -> dict[str, str]:
        volumes = self.store.volumes()
        return dict(zip(volumes["volume_id"].tolist(), volumes["fingerprint"].tolist(), strict=True))

    @property
    def lesion_ids(self) -> list[int]:
        found: list[int] = self.store.lesions()["lesion_id"].tolist()
        return found

    def message(self, reason: str) -> str:
        rejects = self.store.rejects()
        return str(rejects.loc[rejects["reason"] == reason, "message"].iloc[0])


def csv_text(rows: Sequence[Row]) -> str:
    """DL_info.csv with the official quoting and line ends."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def config_of(
    folder: Path, sources: Mapping[str, object], *, complete: bool = False, **select: object
) -> Config:
    """Return the config of a build of `folder/DL_info.csv` into `folder/store`."""
    content = {
        "store": str(folder / "store"),
        "source": {"annotations": str(folder / "DL_info.csv"), "complete": complete, **sources},
        "volume": {"spacing_mm": 3.0},
        "select": select,
        "limits": {
            "rejects": 1.0,
            "lost_archives": 1,
            "location_disagreement": 1.0,
            "allow_fewer_volumes": True,
            "allow_fewer_lesions": True,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_config(path)


def build_outcome(config: Config) -> Outcome:
    """Plan, convert, publish and read back. The counts in the version are those of the tables."""
    plan = load_plan(config)
    done = build(config, plan, SerialExecutor())
    counts = done.published.counts
    counts.check()
    store = open_store(config.store)
    kinds = store.rejects()["kind"].value_counts()
    missing = int((store.rejects()["reason"] == "slice_missing").sum())
    assert (counts.volumes, counts.lesions, counts.slices) == (
        len(store.volumes()),
        len(store.lesions()),
        len(store.slices()),
    )
    assert (counts.rows_rejected, counts.slices_rejected) == (
        kinds.get("row", 0),
        kinds.get("slice", 0) - missing,
    )
    return Outcome(plan, done, store)


@dataclass(frozen=True)
class Release:
    """The undamaged release and what a build makes of it.

    Attributes:
        rows: of DL_info.csv.
        slices: PNG files by `PPPPPP_SS_RR/NNN.png`.
        sources: the config's keys that name its archive.
    """

    rows: tuple[Row, ...]
    slices: Mapping[str, bytes]
    sources: Mapping[str, object]
    outcome: Outcome


class Workshop:
    """Builds damaged copies of a release in a folder of its own.

    The undamaged volumes are in the store already, unpublished, so that only what differs is converted.
    """

    def __init__(self, folder: Path, release: Release) -> None:
        self.folder, self.clean, self.sources = folder, release.outcome, release.sources
        self._release = release
        volumes = Path(release.outcome.store.objects.root, "volumes")
        shutil.copytree(volumes, folder / "store" / "volumes", copy_function=os.link)
        self.write_csv(release.rows)

    @property
    def rows(self) -> list[Row]:
        """A copy of the undamaged rows."""
        return [dict(row) for row in self._release.rows]

    def slices(self, *series: str) -> dict[str, bytes]:
        """The undamaged slices of some series, or of all."""
        return {n: data for n, data in self._release.slices.items() if not series or n.startswith(series)}

    def write_csv(self, rows: Sequence[Row]) -> None:
        """Use these rows."""
        (self.folder / "DL_info.csv").write_text(csv_text(rows), encoding="utf-8", newline="")

    def write_archives(self, *archives: bytes) -> None:
        """Use `0.zip`, `1.zip` .. as the images."""
        for number, data in enumerate(archives):
            (self.folder / f"{number}.zip").write_bytes(data)
        self.sources = {"archives": [str(self.folder / "*.zip")]}

    def write_images(self, members: Mapping[str, bytes]) -> None:
        """Use the folder `images` as the images."""
        for name, data in members.items():
            path = self.folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.sources = {"images": str(self.folder / "images")}

    def config(self, *, complete: bool = False, **select: object) -> Config:
        return config_of(self.folder, self.sources, complete=complete, **select)

    def build(self, *, complete: bool = False, **select: object) -> Outcome:
        return build_outcome(self.config(complete=complete, **select))

    def forget(self, volume_id: str) -> None:
        """Remove an undamaged volume from the store, which would be reused without reading its slices."""
        shutil.rmtree(self.folder / "store" / "volumes" / volume_id)

    @property
    def is_published(self) -> bool:
        return (self.folder / "store" / "versions").exists()

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from etl.core.config import Codec, Volume
from etl.pipeline.build import load_plan
from etl.plan.plan import PlannedVolume, plan_run
from etl.release.names import SeriesKey
from tests.support.tiny_release import (
    csv_row,
    slice_index,
    tiny_config,
    tiny_plan,
    write_release,
)

FIRST, SECOND = "000001_01_01", "000001_01_02"
KEY = SeriesKey(1, 1, 1)


def planned(
    *,
    present: Iterable[int] = range(3, 6),
    spacing_mm: tuple[float, float, float] = (2.0, 0.5, 0.5),
    image: tuple[int, int] = (16, 16),
    volume: Volume | None = None,
    series: SeriesKey = KEY,
    **fields: int,
) -> PlannedVolume:
    slices = slice_index({str(series): present}, **fields).slices
    return plan_run(series, slices, spacing_mm, image, volume or Volume())


def changed_volume(**values: Any) -> Volume:
    return Volume.model_validate(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"spacing_mm": 0.9},
        {"spacing_mm": "native"},
        {"interpolation": "nearest"},
        {"antialias": False},
        {"clip_hu": (-1024, 3070)},
        {"chunk": (64, 64, 32)},
        {"codec": Codec(name="lz4")},
        {"codec": Codec(level=2)},
        {"codec": Codec(shuffle="shuffle")},
        {"pyramid_levels": 2},
    ],
    ids=str,
)
def test_every_parameter_of_volume_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert planned(volume=changed_volume(**changes)).fingerprint != planned().fingerprint


def test_the_table_above_names_every_parameter() -> None:
    assert set(Volume.model_fields) == {
        "spacing_mm", "interpolation", "antialias", "clip_hu", "chunk", "codec", "pyramid_levels",
    }  # fmt: skip
    assert set(Codec.model_fields) == {"name", "level", "shuffle"}


@pytest.mark.parametrize(
    "changes",
    [
        {"crc32": 1},
        {"bytes": 1},
        {"present": range(4, 7)},
        {"present": range(3, 7)},
        {"spacing_mm": (2.0000001, 0.5, 0.5)},
        {"spacing_mm": (2.0, 0.5, 0.6)},
        {"image": (16, 17)},
        {"series": SeriesKey(1, 1, 2)},
    ],
    ids=str,
)
def test_everything_about_the_source_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert planned(**changes).fingerprint != planned().fingerprint


def test_one_slice_of_many_changes_the_fingerprint() -> None:
    for field in ("crc32", "bytes"):
        slices = slice_index({FIRST: range(3, 30)}).slices
        before = plan_run(KEY, slices, (2.0, 0.5, 0.5), (16, 16), Volume()).fingerprint
        slices[field][20] += 1
        assert plan_run(KEY, slices, (2.0, 0.5, 0.5), (16, 16), Volume()).fingerprint != before


@pytest.mark.parametrize(
    "place",
    [{"container": 3}, {"deflated": 1}, {"offset": 77}, {"end": 99}, {"stored_bytes": 12}],
    ids=str,
)
def test_where_the_slices_lie_does_not_change_the_fingerprint(place: dict[str, Any]) -> None:
    assert planned(**place).fingerprint == planned().fingerprint


def test_equal_numbers_give_equal_fingerprints() -> None:
    assert planned(volume=changed_volume(spacing_mm=1)).fingerprint == planned().fingerprint


def test_select_limits_and_store_do_not_change_the_fingerprint() -> None:
    present, row = {FIRST: range(3, 8)}, csv_row(FIRST, 4, (3, 7))
    others = {
        "select": {"patients": (1,), "limit": 1},
        "limits": {"rejects": 0.5, "allow_fewer_volumes": True},
        "store": "elsewhere",
        "cluster": "serial",
    }
    before, after = tiny_plan(present, row), tiny_plan(present, row, **others)
    assert after.volumes[0].fingerprint == before.volumes[0].fingerprint


def test_an_archive_and_a_folder_of_the_same_slices_have_the_same_fingerprints(tmp_path: Path) -> None:
    present = {FIRST: [3, 4, 5, 7], SECOND: [1, 2]}
    rows = [csv_row(FIRST, 4, (3, 7)), csv_row(SECOND, 2, (1, 2))]
    plans = []
    for zipped in (True, False):
        write_release(tmp_path / "release", present, rows, zipped=zipped)
        plans.append(load_plan(tiny_config(tmp_path / "release", tmp_path / "store", zipped=zipped)))
    from_zip, from_folder = ([(v.volume_id, v.fingerprint) for v in p.volumes] for p in plans)
    assert from_zip == from_folder
    assert len(from_zip) == 3
    assert not (tmp_path / "store").exists()

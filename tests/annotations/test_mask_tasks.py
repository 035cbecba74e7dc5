"""Masks read in tasks: every packing, wherever it lies, gives the same; no mask is read twice."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.annotations import mask_tasks
from etl.annotations.entries import Fault, FaultyEntry, Missing
from etl.annotations.grids import Grids
from etl.annotations.joined import JoinedMask, Unmatched
from etl.annotations.mask_files import list_files, read_files, readable_files
from etl.annotations.mask_sources import MaskResults, MaskStore, join_masks
from etl.annotations.printed_rows import Rows, printed_rows
from etl.core.errors import EtlError, SourceError
from etl.release.names import parse_series_id
from etl.run.protocol import Queue
from etl.run.serial import SerialExecutor
from tests.annotations.documents import nifti, tarred
from tests.support.servers import HttpServer
from tests.support.tiny_release import csv_row, parse_rows
from tests.support.zips import zipped

FIRST, SECOND = "000001_01_01", "000001_02_01"
ROWS = Rows(
    printed_rows(
        parse_rows(
            csv_row(FIRST, 109, (103, 115)), csv_row(SECOND, 14, (8, 23)), csv_row(SECOND, 15, (8, 23))
        ).lesions
    ),
    {},
)
PLANE = np.ones((6, 4, 1))
MASKS = {
    f"{FIRST}_109_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 5)),
    f"{FIRST}_109_sample_0.nii.gz": nifti(PLANE, (0.5, 0.5, 2.0), (5, 6, 6)),
    f"{SECOND}_014_sample_0.nii.gz": nifti(PLANE, (0.5, 0.5, 2.0), (5, 6, 6)),
    f"{SECOND}_015_sample_0.nii.gz": b"no mask",
    "000009_01_01_001_lesion_01.nii.gz": b"of no row",
    "lidcidri_1_lesion_01.nii.gz": b"of another data set",
    "README.txt": b"text",
}
SPLITS = {"train_test_split.json": json.dumps({"train": [f"{FIRST}_109_lesion_01"]}).encode()}


def grids() -> Grids:
    volumes = []
    for volume_id, first, count in ((f"{FIRST}_103-115", 103, 13), (f"{SECOND}_008-023", 8, 16)):
        patient, study, series = map(int, volume_id.split("_")[:3])
        row: dict[str, Any] = {
            "volume_id": volume_id,
            "path": f"volumes/{volume_id}/{'0' * 16}.ome.zarr",
            "patient_index": patient,
            "study_index": study,
            "series_index": series,
            "slice_first": first,
        }
        for axis, n, spacing in (("z", count, 2.0), ("y", 16, 0.5), ("x", 16, 0.5)):
            row |= {f"source_shape_{axis}": n, f"source_spacing_{axis}_mm": spacing}
            row |= {f"shape_{axis}": int((n - 1) * spacing) + 1, f"spacing_{axis}_mm": 1.0}
        volumes.append(row)
    return Grids(pd.DataFrame(volumes))


def packings() -> dict[str, bytes]:
    each = {
        f"{name}.zip" if name.endswith("gz") else name: zipped({name: data}) for name, data in MASKS.items()
    }
    compressed = io.BytesIO()
    with tarfile.open(fileobj=compressed, mode="w:gz") as archive:
        for name, data in MASKS.items():
            info = tarfile.TarInfo(f"./labels/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return {
        "a.zip": zipped({f"labels/{name}": data for name, data in MASKS.items()} | SPLITS),
        "b.tar": tarred({f"./labels/{name}": data for name, data in each.items()} | SPLITS),
        "c.tar.gz": compressed.getvalue(),
        "d.zip": zipped({"inner.tar": tarred(each)} | SPLITS),
    }


def join(urls: list[str], store: Path | None) -> MaskResults:
    place = MaskStore(str(store), grids()) if store is not None else None
    return join_masks("uls23", urls, ROWS, SerialExecutor(), place)


def outcomes(found: MaskResults) -> list[tuple[str, str]]:
    results = sorted(found.outcomes, key=lambda outcome: outcome.where)
    return [(o.where, "joined" if isinstance(o, JoinedMask) else str(o.reason)) for o in results]


EXPECTED = [
    (f"{FIRST}_109_lesion_01.nii.gz", "joined"),
    (f"{FIRST}_109_sample_0.nii.gz", "joined"),
    (f"{SECOND}_014_sample_0.nii.gz", "joined"),
    (f"{SECOND}_015_sample_0.nii.gz", "mask_unreadable"),
    ("000009_01_01_001_lesion_01.nii.gz", "not_in_csv"),
    ("lidcidri_1_lesion_01.nii.gz", "name_unexpected"),
]


@pytest.mark.slow
def test_every_packing_gives_the_same_labels(tmp_path: Path, http_server: HttpServer) -> None:
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    for name, data in (MASKS | SPLITS).items():
        (folder / name).write_bytes(data)
    places = {"folder": str(tmp_path / "folder")}
    for name, data in packings().items():
        (tmp_path / name).write_bytes(data)
        places[name] = str(tmp_path / name)
        places[f"http {name}"] = http_server.put(f"/{name}", data)
    found = {name: join([url], tmp_path / "stores" / name) for name, url in places.items()}
    for name, one in found.items():
        assert outcomes(one) == EXPECTED, name
        assert one.labels == found["folder"].labels, name
        assert [entry["volume_id"] for entry in one.labels] == [f"{FIRST}_103-115", f"{SECOND}_008-023"]
    assert outcomes(join([places["b.tar"]], None)) == EXPECTED


def test_the_same_again_reads_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.tar").write_bytes(packings()["b.tar"])
    first = join([str(tmp_path / "b.tar")], tmp_path / "store")

    def refuse(*_: object) -> None:
        raise AssertionError("a mask was read again")

    monkeypatch.setattr(mask_tasks, "read_uls23_mask", refuse)
    again = join([str(tmp_path / "b.tar")], tmp_path / "store")
    assert again.labels == first.labels
    assert again.outcomes == first.outcomes


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """Two tasks: one reads a compressed tar from its beginning, the other the masks of a zip."""
    split = {True: {}, False: {}}
    for name, data in MASKS.items():
        split[name.startswith(FIRST)][name] = data
    (tmp_path / "first.tar.gz").write_bytes(gzip.compress(tarred(split[True])))
    (tmp_path / "second.zip").write_bytes(zipped(split[False]))
    urls = [str(tmp_path / "first.tar.gz"), str(tmp_path / "second.zip")]
    whole = join(urls, tmp_path / "whole")

    class Stopped(SerialExecutor):
        def execute(self, queue: Queue) -> Generator[Any, None, None]:
            yield next(super().execute(queue))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join_masks("uls23", urls, ROWS, Stopped(), MaskStore(str(tmp_path / "part"), grids()))
    written = len(list((tmp_path / "part").rglob("*.receipt.json")))
    assert written == 1
    assert join(urls, tmp_path / "part").labels == whole.labels


def test_a_mask_lies_where_its_lesion_is(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packings()["a.zip"])
    found = join([str(tmp_path / "a.zip")], tmp_path / "store")
    masks = {o.where: o for o in found.outcomes if isinstance(o, JoinedMask)}
    whole = masks[f"{FIRST}_109_lesion_01.nii.gz"].stored
    assert whole is not None
    assert whole.source_bounds == (5, 6, 5, 8, 10, 11)
    assert whole.bounds == (9, 3, 3, 15, 5, 6)
    plane = masks[f"{FIRST}_109_sample_0.nii.gz"].stored
    assert plane is not None
    assert plane.source_bounds == (6, 6, 5, 7, 10, 11)
    assert plane.path.endswith("/labels/key_slices")


@pytest.mark.parametrize("name", ["a.zip", "b.tar", "c.tar.gz", "d.zip"])
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_damaged_places(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    changed = bytearray(packings()[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    place = tmp_path_factory.mktemp("damaged") / name
    place.write_bytes(changed)
    try:
        found = join([str(place)], None)
    except EtlError:
        return
    assert all(isinstance(outcome, (JoinedMask, Unmatched, FaultyEntry)) for outcome in found.outcomes)


def test_a_place_that_changed_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "c.tar.gz"
    place.write_bytes(packings()["c.tar.gz"])
    files = list(list_files(str(place)))
    compressed = io.BytesIO()
    with tarfile.open(fileobj=compressed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("other"), io.BytesIO(b""))
    place.write_bytes(compressed.getvalue())
    with pytest.raises(SourceError, match="changed"), readable_files(files) as found:
        read_files(found)


def test_a_mask_twice_is_a_reject(tmp_path: Path) -> None:
    for name in ("a.zip", "b.tar"):
        (tmp_path / name).write_bytes(packings()[name])
    found = join([str(tmp_path / "a.zip"), str(tmp_path / "b.tar")], None)
    assert [o.reason for o in found.outcomes if isinstance(o, FaultyEntry)].count(Fault.MASK_REPEATED) == 5


@pytest.mark.parametrize(
    ("partial", "reason"),
    [((), Fault.MASK_OFF_LESION), ((SECOND,), Fault.MASK_OFF_LESION), ((FIRST,), Missing.NOT_IN_CSV)],
)
def test_a_mask_of_a_row_that_is_not_given_is_no_fault(
    tmp_path: Path, partial: tuple[str, ...], reason: str
) -> None:
    name = f"{FIRST}_109_sample_0.nii.gz"
    (tmp_path / name).write_bytes(nifti(PLANE[:2, :2], (0.5, 0.5, 2.0), (0, 0, 6)))
    rows = replace(ROWS, partial=frozenset(filter(None, map(parse_series_id, partial))))
    (outcome,) = join_masks("uls23", [str(tmp_path)], rows, SerialExecutor(), None).outcomes
    assert isinstance(outcome, (FaultyEntry, Unmatched))
    assert (outcome.where, outcome.reason) == (name, reason)


@pytest.mark.parametrize("packed", ["folder", "a.tar", "a.zip"])
@pytest.mark.parametrize("images", ["images", "imagesTr", "another"])
def test_a_ct_under_the_name_of_its_mask_is_no_mask(tmp_path: Path, packed: str, images: str) -> None:
    """The release of ULS23 has the CT of each mask in images/, which comes before labels/."""
    name, other = f"{FIRST}_109_lesion_01.nii.gz", f"{SECOND}_014_sample_0.nii.gz"
    ct = np.arange(6 * 4 * 3).reshape(6, 4, 3) // 70 + 7
    files = {
        f"ULS23/{images}/{name}": nifti(ct, (0.5, 0.5, 2.0), (5, 6, 5), code=4),
        f"ULS23/{images}/{other}": nifti(ct[..., -1:], (0.5, 0.5, 2.0), (5, 6, 6), code=16),
        f"ULS23/labels/{name}": MASKS[name],
    }
    for at, data in files.items():
        (tmp_path / "folder" / at).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / at).write_bytes(data)
    (tmp_path / "a.tar").write_bytes(tarred(files))
    (tmp_path / "a.zip").write_bytes(zipped(files))
    found = join([str(tmp_path / packed)], None)
    several = (other, Fault.MASK_OF_SEVERAL_VALUES)
    if images == "another":
        assert outcomes(found) == [(name, Fault.MASK_OF_SEVERAL_VALUES), (name, Fault.MASK_REPEATED), several]
    else:
        assert (outcomes(found), found.ignored) == ([(name, "joined"), several], 1)

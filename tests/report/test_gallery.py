from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etl.imaging.window import to_grey
from etl.report.gallery import Gallery, make_gallery, sample
from etl.store.reader import Store, open_store
from tests.support.report_rows import lesions


def gallery_of(store: Store, first: tuple[int, ...] = ()) -> Gallery:
    return make_gallery(store, (store.lesions(), store.volumes(), store.slices()), first)


@pytest.fixture(scope="module")
def gallery(store: Store) -> Gallery:
    return gallery_of(store)


@pytest.mark.slow
def test_every_key_slice_of_a_small_store_is_shown(gallery: Gallery, store: Store) -> None:
    shown = [lesion.lesion_id for figure in gallery.figures for lesion in figure.image.lesions]
    assert sorted(shown) == store.lesions()["lesion_id"].tolist()
    assert gallery.key_slices == store.lesions()["file_name"].nunique()
    assert gallery.failed == ()


def test_a_picture_is_the_stored_plane_through_the_window(gallery: Gallery, store: Store) -> None:
    figure = gallery.figures[0]
    plane = store.array(figure.image.volume_id)[figure.image.plane]
    shown = np.asarray(Image.open(io.BytesIO(figure.jpeg)))
    assert shown.shape == plane.shape
    assert np.abs(shown.astype(int) - to_grey(np.asarray(plane), figure.image.window_hu)).mean() < 4


def test_published_positions_cross_in_the_centre_of_the_box(gallery: Gallery) -> None:
    """Every row belongs to its slice, so the published position is the centre of the box."""
    for figure in gallery.figures:
        for marks, line in zip(figure.marks, figure.lines, strict=True):
            x1, y1, x2, y2 = marks.box
            assert line == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2), abs=0.01)


def test_lesions_that_are_named_come_first(store: Store) -> None:
    last = int(store.lesions()["lesion_id"].iloc[-1])
    figures = gallery_of(store, (last,)).figures
    assert last in [lesion.lesion_id for lesion in figures[0].image.lesions]


def test_a_sample_is_even_and_the_same_every_time() -> None:
    rows = lesions(*[{"coarse_type": "lung"}] * 50, *[{"coarse_type": "bone"}] * 3)
    chosen = sample(rows, [7, 2], 8)
    assert chosen["lesion_id"].tolist()[:2] == [7, 2]
    assert (chosen["coarse_type"] == "bone").sum() == 3
    assert chosen.equals(sample(rows, [7, 2], 8))
    assert not chosen["lesion_id"].duplicated().any()


@pytest.mark.slow
def test_a_volume_that_is_damaged_or_gone_costs_its_pictures_only(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.objects.root, tmp_path / "store")
    damaged = open_store(str(tmp_path / "store"))
    gone, broken = sorted(set(damaged.lesions()["volume_id"]))[:2]
    paths = {entry["volume_id"]: tmp_path / "store" / entry["path"] for entry in damaged.version["volumes"]}
    (paths[gone] / "0/c/0/0/0").unlink()
    (paths[broken] / "0/c/0/0/0").write_bytes(b"no shard")
    found = gallery_of(damaged)
    assert {name.split(":")[0] for name in found.failed} == {gone, broken}
    assert len(found.figures) + len(found.failed) == len(gallery_of(store).figures)


def test_a_version_from_before_the_masks_has_no_lines(store: Store) -> None:
    columns = ["volume_id", "slice_index"]
    tables = (store.lesions(), store.volumes(), store.slices(columns=columns))
    assert {line for figure in make_gallery(store, tables, ()).figures for line in figure.lines} == {None}

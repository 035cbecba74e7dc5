from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from etl.export.export import export
from etl.export.key_slices import GREEN, RED, YELLOW, Marks, draw_marks
from etl.export.protocol import Selection
from etl.store.reader import Store

GREY = np.full((20, 30), 100, np.uint8)


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """Return (x, y) of every pixel of a colour."""
    return {(int(x), int(y)) for y, x in np.argwhere((picture == colour).all(axis=2))}


def test_nothing_to_draw_is_the_slice_in_colour() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(draw_marks(grey, []), np.repeat(grey[:, :, None], 3, axis=2))


def test_each_mark_has_its_colour_and_place() -> None:
    marks = Marks(long_diameter=(4, 8, 14, 8), short_diameter=(9, 6, 9, 10), box=(2, 3, 16, 13))
    picture = draw_marks(GREY, [marks])
    assert picture.shape == (20, 30, 3)
    rectangle = {(x, y) for x in range(2, 17) for y in range(3, 14) if x in (2, 16) or y in (3, 13)}
    assert where(picture, GREEN) == rectangle
    centre = where(picture, YELLOW)
    assert np.mean(list(centre), axis=0).tolist() == [9, 8]
    lines = {(x, 8) for x in range(4, 15)} | {(9, y) for y in range(6, 11)}
    assert where(picture, RED) == lines - centre
    untouched = (picture == 100).all(axis=2).sum()
    assert untouched == 600 - len(rectangle) - len(lines | centre)


def test_scale_keeps_places() -> None:
    marks = Marks(long_diameter=(4, 8, 14, 8), short_diameter=(9, 6, 9, 10), box=(2, 3, 16, 13))
    picture = draw_marks(GREY, [marks], scale=3)
    assert picture.shape == (60, 90, 3)
    # The centre of pixel 2 is pixel 7 of the picture: 2 * 3 + 1.
    assert min(where(picture, GREEN)) == (7, 10)
    assert max(where(picture, GREEN)) == (49, 40)


def test_a_box_past_the_edge_is_drawn_as_far_as_there_is_a_slice() -> None:
    picture = draw_marks(GREY, [Marks((20, 5, 28, 5), (24, 3, 24, 7), (18, -4, 35, 12))])
    assert picture.shape == (20, 30, 3)
    assert where(picture, GREEN) == {(18, y) for y in range(13)} | {(x, 12) for x in range(18, 30)}


def test_every_lesion_is_drawn_on_its_key_slice(demo_store: Store, tmp_path: Path) -> None:
    export(demo_store, tmp_path / "out", "images", Selection(patients=(1, 7)))
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/*"))
    assert found == [
        "test/000001_01_01_108_-175_275.png",
        "test/000001_01_01_109_-175_275.png",
        "val/000007_01_01_072_-1500_500.png",
        "val/000007_01_01_080_-1500_500.png",
        "val/000007_02_01_015_-175_275.png",
    ]
    lesions = demo_store.lesions().set_index("lesion_id")
    with Image.open(tmp_path / "out" / found[0]) as image:
        picture = np.asarray(image)
    height, width = demo_store.array("000001_01_01_103-115").shape[1:]
    assert picture.shape == (2 * height, 2 * width, 3)
    for lesion_id in (0, 1):
        row = lesions.loc[lesion_id]
        assert row["file_name"] == "000001_01_01_108.png"
        x, y = (row[f"bbox_{axis}1_vox"] + row[f"bbox_{axis}2_vox"] + 0.5 for axis in "xy")
        assert tuple(picture[round(y), round(x)]) == YELLOW

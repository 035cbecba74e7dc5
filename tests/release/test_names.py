from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.release.names import (
    SeriesKey,
    distinct_names,
    file_name,
    is_ignorable,
    parse_file_name,
    parse_member,
    parse_series_id,
    slice_name,
    volume_id,
)

SERIES = SeriesKey(1, 2, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Images_png/000001_02_03/103.png", (SERIES, 103)),
        ("000001_02_03/103.png", (SERIES, 103)),
        ("000001_02_03/001.png", (SERIES, 1)),
        ("000001_02_03/000.png", (SERIES, 0)),
        ("000001_02_03/1141.png", (SERIES, 1141)),
        ("000001_02_03/999999.png", (SERIES, 999_999)),
        ("999999_99_99/999.png", (SeriesKey(999_999, 99, 99), 999)),
        ("000001_02_03/103.PNG", (SERIES, 103)),
        ("./000001_02_03/103.png", (SERIES, 103)),
        ("DeepLesion/Images_png/000001_02_03/103.png", (SERIES, 103)),
        ("minideeplesion/000001_02_03/103.png", (SERIES, 103)),
        ("Images_png/Images_png/000001_02_03/103.png", (SERIES, 103)),
        ("Images_png//000001_02_03/103.png", (SERIES, 103)),
        ("images_png/000001_02_03/103.png", (SERIES, 103)),
        ("Images_png\\000001_02_03\\103.png", (SERIES, 103)),
        ("000001_02_03\\103.png", (SERIES, 103)),
        ("C:\\data/Images_png 2\\000001_02_03/1141.PNG", (SERIES, 1141)),
    ],
)
def test_member_names_that_are_slices(name: str, expected: tuple[SeriesKey, int]) -> None:
    assert parse_member(name) == expected


NOT_MEMBERS = [
    "",
    "103.png",
    "000001_02_03/",
    "000001_02_03/103",
    "000001_02_03/103.Png",
    "000001_02_03/103.png\n",
    "000001_02_03/103.png/",
    "000001_02_03/103.png.bak",
    "000001_02_03/03.png",
    "000001_02_03/0103.png",
    "000001_02_03/1000000.png",
    "000001_02_03/+10.png",
    "000001_02_03/1_3.png",
    "000001_02_03/\uff11\uff10\uff13.png",
    "00001_02_03/103.png",
    "0000001_02_03/103.png",
    "000001_2_03/103.png",
    "000001_02_03_04/103.png",
    "000001-02-03/103.png",
    "/000001_02_03/103.png",
    "/Images_png/000001_02_03/103.png",
    "../000001_02_03/103.png",
    "Images_png/../000001_02_03/103.png",
    "Images_png\\..\\000001_02_03/103.png",
    "Images_png/x000001_02_03/103.png",
    "000001_02_03/sub/103.png",
    "000001_02_03_103.png",
]


@pytest.mark.parametrize("name", NOT_MEMBERS)
def test_any_other_member_name_is_none(name: str) -> None:
    assert parse_member(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000001_02_03_103.png", (SERIES, 103)),
        ("000001_02_03_1103.png", (SERIES, 1103)),
        ("000001_02_03_0103.png", None),
        ("000001_02_03_13.png", None),
        ("000001_02_03_103.png\n", None),
        ("000001_02_03/103.png", None),
        ("000001_02_103.png", None),
        ("x000001_02_03_103.png", None),
    ],
)
def test_file_names_of_the_csv(name: str, expected: tuple[SeriesKey, int] | None) -> None:
    assert parse_file_name(name) == expected


@pytest.mark.parametrize("text", ["000001_02_03\n", "000001_02_03/", "1_2_3", "000001_02", ""])
def test_what_is_not_a_series(text: str) -> None:
    assert parse_series_id(text) is None


@given(
    st.builds(SeriesKey, st.integers(0, 999_999), st.integers(0, 99), st.integers(0, 99)),
    st.integers(0, 999_999),
)
def test_names_come_back_as_they_went_in(series: SeriesKey, index: int) -> None:
    assert parse_member(slice_name(series, index)) == (series, index)
    assert parse_member(f"Images_png/{slice_name(series, index)}") == (series, index)
    assert parse_member(f"a\\b/./{slice_name(series, index)}".replace(".png", ".PNG")) == (series, index)
    assert parse_file_name(file_name(series, index)) == (series, index)
    assert parse_series_id(str(series)) == series


@given(st.text(alphabet="0123456789_/.png Iaes\n", max_size=40) | st.text(max_size=40))
def test_a_name_ends_as_it_is_spelt(text: str) -> None:
    member = parse_member(text)
    if member is not None:
        assert (
            text.replace("\\", "/")
            .removesuffix(".PNG")
            .removesuffix(".png")
            .endswith(slice_name(*member).removesuffix(".png"))
        )
    named = parse_file_name(text)
    if named is not None:
        assert text == file_name(*named)


def test_volume_ids_are_those_of_the_official_converter() -> None:
    assert volume_id(SERIES, 103, 115) == "000001_02_03_103-115"
    assert volume_id(SERIES, 5, 1141) == "000001_02_03_005-1141"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Images_png/", True),
        ("Images_png/000001_02_03/", True),
        ("Images_png/000001_02_03/._103.png", True),
        ("Images_png/._000001_02_03", True),
        ("._103.png", True),
        (".DS_Store", True),
        ("Images_png/.DS_Store", True),
        ("Images_png/000001_02_03/Thumbs.db", True),
        ("__MACOSX", True),
        ("__MACOSX/Images_png/000001_02_03/103.png", True),
        ("DeepLesion/__MACOSX/000001_02_03/103.png", True),
        ("lost+found", True),
        (".Trashes/501/103.png", True),
        ("Images_png\\000001_02_03\\", True),
        ("Images_png\\000001_02_03\\._103.png", True),
        ("Images_png/000001_02_03/103.png", False),
        ("Images_png/000001_02_03/.103.png", False),
        ("Images_png/000001_02_03/_103.png", False),
        ("notes.txt", False),
        ("", False),
    ],
)
def test_what_is_ignored(name: str, expected: bool) -> None:
    assert is_ignorable(name) is expected


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/Images_png", "/a/Images_png 2"], ["Images_png", "Images_png 2"]),
        (["/r/01/Images_png", "/r/02/Images_png", "/r/x.zip"], ["01/Images_png", "02/Images_png", "x.zip"]),
        (["/a/1/b/x.zip", "/a/2/b/x.zip", "/a/2/c/x.zip"], ["1/b/x.zip", "2/b/x.zip", "c/x.zip"]),
        (["/x", "/a/x"], ["x", "a/x"]),
        (["https://a.org/x.zip", "s3://b/x.zip"], ["a.org/x.zip", "b/x.zip"]),
        (["https://a.org/get", "https://a.org/get"], ["a.org/get (1)", "a.org/get (2)"]),
        ([], []),
    ],
)
def test_archives_and_folders_of_one_name_are_told_apart(paths: list[str], names: list[str]) -> None:
    assert distinct_names(paths) == names


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=9, unique_by=tuple))
def test_names_of_different_paths_differ_and_end_them(paths: list[list[str]]) -> None:
    names = distinct_names(["/".join(path) for path in paths])
    assert len(set(names)) == len(paths)
    assert all(f"/{'/'.join(path)}".endswith(f"/{name}") for path, name in zip(paths, names, strict=True))

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason
from etl.release.annotations import COARSE_TYPES, COLUMNS, LESION_DTYPES, SPLITS, parse_annotations
from etl.release.names import file_name, parse_file_name


@dataclass(frozen=True)
class Row:
    """A valid row: its cells, and the lesion that they stand for."""

    cells: tuple[str, ...]
    lesion: dict[str, object]


@st.composite
def valid_rows(draw: st.DrawFn) -> Row:
    def decimals(count: int, low: float, high: float) -> list[float]:
        return draw(st.lists(st.floats(low, high), min_size=count, max_size=count))

    def printed(*numbers: float) -> str:
        separator = draw(st.sampled_from([", ", ",", " , "]))
        return separator.join(repr(number) for number in numbers)

    first, key, last = sorted(draw(st.lists(st.integers(0, 1200), min_size=3, max_size=3)))
    patient, study, series = draw(st.tuples(st.integers(0, 999_999), st.integers(0, 99), st.integers(0, 99)))
    height, width = draw(st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
    recist = decimals(8, -50, 5000)
    x1, y1 = draw(st.floats(-20, width)), draw(st.floats(-20, height))
    x2, y2 = max(x1, 0.5) + draw(st.floats(0.001, 500)), max(y1, 0.5) + draw(st.floats(0.001, 500))
    diameters = decimals(2, 0.001, 5000)
    location = decimals(3, -0.5, 1.5)
    code = draw(st.sampled_from([-1, *COARSE_TYPES]))
    noisy = draw(st.integers(0, 1))
    # Neither a slice nor a run is larger than any scan: MAX_EXTENT_MM.
    most = min(50.0, 2000 / width), min(50.0, 2000 / height), min(50.0, 5000 / (last - first + 1))
    spacing = [draw(st.floats(0.001, limit, exclude_max=True)) for limit in most]
    low, high = sorted(draw(st.lists(st.floats(-4000, 4000), min_size=2, max_size=2, unique=True)))
    sex = draw(st.sampled_from(["M", "F"]))
    age = draw(st.none() | st.integers(0, 200))
    split = draw(st.sampled_from(list(SPLITS)))
    name = f"{patient:06d}_{study:02d}_{series:02d}_{key:03d}.png"
    cells = (
        name,
        *map(str, (patient, study, series, key)),
        printed(*recist),
        printed(x1, y1, x2, y2),
        printed(*diameters),
        printed(*location),
        *map(str, (code, noisy)),
        printed(first, last),
        printed(*spacing),
        printed(height, width),
        printed(low, high),
        sex,
        draw(st.sampled_from(["NaN", ""])) if age is None else str(age),
        str(split),
    )
    past_edge = x1 < 0.5 or y1 < 0.5 or x2 > width + 0.5 or y2 > height + 0.5
    values = (
        name, patient, study, series, key, *recist, x1, y1, x2, y2, past_edge, *diameters, *location,
        None if code == -1 else code, COARSE_TYPES.get(code), bool(noisy), first, last, *spacing, width,
        height, low, high, sex, age, SPLITS[split],
    )  # fmt: skip
    return Row(cells, dict(zip(list(LESION_DTYPES)[1:], values, strict=True)))


def csv_bytes(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells for row in rows)
    return text.getvalue().encode()


@given(st.lists(valid_rows(), min_size=1, max_size=4, unique_by=lambda row: row.cells))
def test_valid_rows_come_back_exactly(rows: list[Row]) -> None:
    read = parse_annotations(csv_bytes(rows), "x")
    assert read.rejects == ()
    found = [
        {name: None if value != value or value is None else value for name, value in lesion.items()}
        for lesion in read.lesions.astype(object).where(read.lesions.notna(), None).to_dict("records")
    ]
    assert found == [{"lesion_id": i, **row.lesion} for i, row in enumerate(rows)]
    assert [(run.first, run.last, run.columns) for run in read.geometries] == [
        (row.lesion["slice_first"], row.lesion["slice_last"], row.lesion["image_width_px"]) for row in rows
    ]


def nothing_is_lost(data: bytes) -> None:
    """Each row is either a sound lesion or one reject, and only SourceError is raised."""
    try:
        read = parse_annotations(data, "x")
    except SourceError:
        return
    lesions = read.lesions
    assert read.row_count == len(lesions) + len(read.rejects)
    accepted, rejected = lesions["lesion_id"].tolist(), [r.lesion_id for r in read.rejects]
    assert sorted(accepted + rejected) == list(range(read.row_count))
    assert accepted == sorted(accepted)
    for reject in read.rejects:
        assert reject.kind is Kind.ROW
        assert (reject.found_in + reject.message).isprintable()
        assert len(reject.message) < 10_000
    for lesion in lesions.to_dict("records"):
        series, key = parse_file_name(lesion["file_name"]) or ((), -1)
        assert tuple(series) == (lesion["patient_index"], lesion["study_index"], lesion["series_index"])
        assert lesion["slice_first"] <= key == lesion["key_slice_index"] <= lesion["slice_last"]
        assert lesion["bbox_x1_px"] < lesion["bbox_x2_px"]
        assert lesion["bbox_y1_px"] < lesion["bbox_y2_px"]
    runs = {run.lesion_id: run for run in read.geometries}
    assert len(runs) == len(read.geometries)
    assert set(accepted) <= runs.keys() <= set(range(read.row_count))
    assert runs.keys().isdisjoint(r.lesion_id for r in read.rejects if r.reason is Reason.DUPLICATE_ROW)
    for run in runs.values():
        assert parse_file_name(file_name(run.series, 1)) == (run.series, 1)
        assert 0 <= run.first <= run.last <= 999_999
        assert all(0.001 <= mm <= 100 for mm in run.spacing_zyx_mm)
        assert all(1 <= size <= 4096 for size in (run.rows, run.columns))


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    nothing_is_lost(data)


@given(st.binary(max_size=400))
def test_any_bytes_below_a_header(data: bytes) -> None:
    nothing_is_lost(csv_bytes([]) + data)


ODD_CELLS = st.text(max_size=40) | st.sampled_from(
    [
        "",
        "NaN",
        "-1",
        "1_0",
        "\uff11",
        "inf",
        "1e999",
        "0, 0",
        "1, 2, 3",
        "9" * 5000,
        '"',
        "\r",
        "\n",
        "\0",
        "\u2028",
    ]
)


@given(
    st.lists(valid_rows(), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 17), ODD_CELLS), max_size=4),
)
def test_any_cell_replaced_by_any_text(rows: list[Row], changes: list[tuple[int, int, str]]) -> None:
    for row, column, text in changes:
        cells = list(rows[row % len(rows)].cells)
        cells[column] = text
        rows[row % len(rows)] = Row(tuple(cells), {})
    nothing_is_lost(csv_bytes(rows))


@given(st.lists(valid_rows(), min_size=2, max_size=4), st.data())
def test_any_damage_to_the_file(rows: list[Row], data: st.DataObject) -> None:
    damaged = bytearray(csv_bytes(rows))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        end = data.draw(st.integers(at, min(len(damaged), at + 200)))
        lines = bytes(damaged).split(b"\n")
        match data.draw(st.sampled_from(["replace", "insert", "cut", "cut the rest", "repeat a line"])):
            case "replace":
                damaged[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "insert":
                damaged[at:at] = data.draw(
                    st.binary(max_size=5) | st.sampled_from([b'"', b",", b"\r", b"\n"])
                )
            case "cut":
                del damaged[at:end]
            case "cut the rest":
                del damaged[at:]
            case "repeat a line":
                damaged += b"\n" + lines[at % len(lines)]
    nothing_is_lost(bytes(damaged))

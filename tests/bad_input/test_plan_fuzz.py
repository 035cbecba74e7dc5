"""Whatever is wrong with the release, planning ends in an error of ours or in a plan that loses nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config import Config, Select, Source
from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason
from etl.pipeline.build import load_plan
from etl.plan.plan import Plan
from tests.support.workshop import Release, Row, csv_text, zipped

ODD_CELLS = (
    "", "0", "-1", "1", "2", "9", "NaN", '"', "x\r", "1, 2", "2, 1", "8, 19", "20, 45", "1, 1200",
    "1, 999999", "0.5, 0.5, 5", "0.859375, 0.859375, 2.5", "512, 512", "1, 1, 2, 2", "000001_01_01_109.png",
    "000002_02_01_019.png",
)  # fmt: skip
ODD_NAMES = (
    "000001_01_01/1.png", "000001_01_01/1030.png", "000003_01_01/001.png", "../000001_01_01/103.png", "x",
    "a/", "._b",
)  # fmt: skip
SELECTIONS = st.builds(
    Select,
    patients=st.sampled_from([None, (1,), (2,), (1, 2)]),
    series=st.sampled_from([None, ("000001_01_01",), ("000002_01_01", "000002_02_01")]),
    splits=st.sampled_from([None, ("train",), ("test", "val")]),
    limit=st.none() | st.integers(1, 4),
)


@st.composite
def damaged_rows(draw: st.DrawFn, rows: list[Row]) -> str:
    columns = list(rows[0])
    for row in draw(st.lists(st.sampled_from(rows), max_size=3)):
        row[draw(st.sampled_from(columns))] = draw(st.sampled_from(ODD_CELLS))
    kept = draw(st.lists(st.sampled_from(rows), min_size=1, max_size=8))
    text = csv_text(rows if draw(st.booleans()) else kept)
    at = draw(st.none() | st.integers(0, len(text)))
    if at is None:
        return text
    return text[:at] + draw(st.text(max_size=3)) + text[at + draw(st.integers(0, 3)) :]


@st.composite
def damaged_archives(draw: st.DrawFn, names: list[str]) -> list[bytes]:
    slices = {name: name.encode() for name in names}
    for name in draw(st.lists(st.sampled_from(names), max_size=6)):
        slices.pop(name, None)
    for name in draw(st.lists(st.sampled_from(ODD_NAMES), max_size=2)):
        slices[name] = b"odd"
    copies = draw(st.sets(st.sampled_from(names)))
    second = {name: draw(st.sampled_from([name.encode(), b"x"])) for name in copies}
    archives = [zipped(slices), zipped(second)]
    if draw(st.booleans()):
        damaged = bytearray(archives[0])
        for _ in range(draw(st.integers(1, 3))):
            damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
        archives[0] = bytes(damaged)
    if draw(st.booleans()):
        archives[1] = archives[1][: draw(st.integers(0, len(archives[1])))]
    return archives


def nothing_is_lost(plan: Plan) -> None:
    kinds = Counter((reject.kind, reject.reason is Reason.SLICE_MISSING) for reject in plan.rejects)
    selected = plan.selected_lesion_ids.tolist()
    rejected = [reject.lesion_id for reject in plan.rejects if reject.kind is Kind.ROW]
    assert len(set(selected + rejected)) == len(selected) + len(rejected)
    assert set(selected) <= set(plan.annotations.lesions["lesion_id"].tolist())
    assert len(selected) + len(rejected) + plan.rows_not_selected == plan.annotations.row_count
    assert plan.slice_count + kinds[Kind.SLICE, False] + plan.slices_not_selected == plan.index.found_count
    seen = [(volume.series, index) for volume in plan.volumes for index in volume.slices["index"].tolist()]
    assert seen == sorted(set(seen))
    for volume in plan.volumes:
        assert (np.diff(volume.slices["index"]) == 1).all()
        assert volume.slices["crc32"].all()
    missing = {(r.series_id, r.slice_index) for r in plan.rejects if r.reason is Reason.SLICE_MISSING}
    assert missing.isdisjoint((str(series), index) for series, index in seen)
    assert all((r.found_in + r.message).isprintable() for r in plan.rejects)


@given(data=st.data(), select=SELECTIONS, complete=st.booleans())
def test_any_damage_is_told_and_nothing_is_lost(
    small_release: Release, data: st.DataObject, select: Select, complete: bool
) -> None:
    rows = data.draw(damaged_rows([dict(row) for row in small_release.rows]))
    archives = data.draw(damaged_archives(sorted(small_release.slices)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "DL_info.csv").write_text(rows, encoding="utf-8", errors="replace", newline="")
        for number, archive in enumerate(archives):
            (folder / f"{number}.zip").write_bytes(archive)
        source = Source(
            annotations=str(folder / "DL_info.csv"), archives=(str(folder / "*.zip"),), complete=complete
        )
        config = Config(store=str(folder / "store"), source=source, select=select)
        with contextlib.suppress(SourceError):
            nothing_is_lost(load_plan(config))

"""Foreign input in bulk: work and text grow with it, not with its square."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from etl.core import rejects
from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.release import index
from etl.release.archives import index_archives
from etl.release.index import SliceIndex
from etl.release.sources import ArchiveEntry
from tests.support.memory import traced_peak_bytes


def zip_of(members: list[tuple[str, bytes]]) -> bytes:
    """An archive of these members, of which several may have one name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body)
    return data.getvalue()


def indexed(folder: Path, members: list[tuple[str, bytes]]) -> SliceIndex:
    path = folder / "a.zip"
    path.write_bytes(zip_of(members))
    return index_archives([ArchiveEntry(str(path))])


@pytest.mark.parametrize("differs", [False, True], ids=["equal", "conflicting"])
def test_one_slice_many_times_costs_each_copy_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differs: bool
) -> None:
    """Twice the copies: twice the descriptions of copies, twice the text."""
    described: list[int] = []
    shown = index.slice_name

    def counted(*arguments: Any) -> str:
        described[-1] += 1
        return shown(*arguments)

    monkeypatch.setattr(index, "slice_name", counted)
    texts = []
    for copies in (200, 400):
        described.append(0)
        members = [("Images_png/000001_01_01/001.png", b"x" * (1 + differs * n)) for n in range(copies)]
        found = indexed(tmp_path, [("Images_png/000001_01_01/002.png", b"y"), *members])
        assert len(found.rejects) == copies - (not differs)
        assert f"{copies} copies" in found.rejects[-1].message
        texts.append(sum(len(r.message) for r in found.rejects) / len(found.rejects))
    assert described[1] <= 2 * described[0] + 2
    assert texts[1] == pytest.approx(texts[0], rel=0.05)


@pytest.mark.slow
def test_foreign_members_take_little_memory(tmp_path: Path) -> None:
    """20,000 take less than a fifth of 150 MB."""
    members = [(f"other/folder/file_{number:06d}.dat", b"") for number in range(20_000)]
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of([("Images_png/000001_01_01/001.png", b"x"), *members]))

    def run() -> None:
        assert len(index_archives([ArchiveEntry(str(path))]).rejects) == 20_000

    assert traced_peak_bytes(run, runs=1) < 150e6 / 5


@pytest.mark.parametrize("length", [10, 999, 1000, 1001, 100_000])
def test_every_text_of_a_reject_has_a_bound(length: int) -> None:
    reject = Reject(Kind.SLICE, Reason.SLICE_CONFLICT, "a" * length, "b" * length)
    for text in (reject.found_in, reject.message):
        assert len(text) == min(length, rejects.MOST_CHARACTERS)
        assert text.endswith(" ...") == (length > rejects.MOST_CHARACTERS)


def test_every_error_has_a_bound() -> None:
    for error in (SourceError("x" * 10**6), SourceError("x", value=["y" * 10**6], remedy="z" * 10**6)):
        assert len(str(error)) < 10_000

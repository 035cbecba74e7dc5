"""Archives of a few small members, and what is read from them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from etl.core.errors import SliceError
from etl.release.archives import index_archives
from etl.release.index import SliceIndex
from etl.release.slices import read_slices
from etl.release.sources import ArchiveEntry


def content(index: int) -> bytes:
    """Stands for a PNG file: the directory of a zip does not look inside."""
    return bytes([index % 256]) * 40 + index.to_bytes(4, "little") * 3


SLICES = {f"Images_png/000001_01_01/{index:03d}.png": content(index) for index in (7, 8, 9, 1141)}


def zipped(
    members: Mapping[str, bytes] = SLICES, method: int = zipfile.ZIP_DEFLATED, *, comment: bytes = b""
) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, body in members.items():
            # One date, so that the same members give the same bytes.
            archive.writestr(zipfile.ZipInfo(name), body, method)
        archive.comment = comment
    return data.getvalue()


def read(tmp_path: Path, *archives: bytes) -> SliceIndex:
    for number, data in enumerate(archives):
        (tmp_path / f"{number}.zip").write_bytes(data)
    return index_archives([ArchiveEntry(str(tmp_path / "*.zip"))])


def contents(index: SliceIndex) -> dict[int, bytes | SliceError]:
    read_back = read_slices(index.containers, index.slices)
    return dict(zip(index.slices["index"].tolist(), read_back, strict=True))


def assert_whole(index: SliceIndex) -> None:
    assert contents(index) == {7: content(7), 8: content(8), 9: content(9), 1141: content(1141)}
    assert index.rejects == ()
    assert index.found_count == 4

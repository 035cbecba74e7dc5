"""The series that is converted: real slices if they are available, else synthetic ones."""

from __future__ import annotations

import itertools
import shutil
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from etl.convert.convert import Converter
from etl.convert.results import Conversion
from etl.core.config import Volume
from etl.imaging.png import read_png
from etl.io.opening import open_objects
from etl.phantom import write_phantom
from etl.plan.plan import PlannedVolume, plan_run
from etl.release.archives import index_archives
from etl.release.folders import index_folder, with_checksums
from etl.release.index import Container
from etl.release.names import SeriesKey
from etl.release.sources import ArchiveEntry
from etl.store.level_voxels import LevelVoxels, open_level
from etl.store.receipts import Receipt

REAL_SLICES = Path("../shared/real/Images_png")
SLICES = 47
SPACING_ZYX_MM = (5.0, 0.78, 0.78)
IMAGE = (512, 512)
_SERIES = SeriesKey(1, 1, 1)


@dataclass(frozen=True)
class Sample:
    """A series to convert.

    Attributes:
        kind: `real` or `phantom`.
        files: its slices as PNG files, in order.
        containers, planned: arguments of a `Converter`.
    """

    kind: str
    files: tuple[Path, ...]
    containers: tuple[Container, ...]
    planned: PlannedVolume

    @property
    def png(self) -> list[bytes]:
        return [path.read_bytes() for path in self.files]

    def with_volume(self, volume: Volume) -> PlannedVolume:
        """Plan the same series for other parameters."""
        run = self.planned
        return plan_run(run.series, run.slices, run.source_spacing_mm, IMAGE, volume)


def slice_files(folder: Path) -> tuple[str, tuple[Path, ...]]:
    """Return `real` or `phantom`, and 512 x 512 slices: real ones, or a phantom's, written to `folder`."""
    real = tuple(sorted(REAL_SLICES.glob("*/*.png")))
    if real:
        return "real", tuple(path.resolve() for path in real)
    write_phantom(folder / "phantom", patients=2, archives=1, extracted=True)
    slices = sorted((folder / "phantom" / "Images_png").glob("*/*.png"))
    return "phantom", tuple(path.resolve() for path in slices if _size(path) == IMAGE)


def _size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return height, width


def make_sample(
    folder: Path,
    volume: Volume,
    count: int = SLICES,
    spacing_zyx_mm: tuple[float, float, float] = SPACING_ZYX_MM,
    *,
    in_archive: bool = False,
) -> Sample:
    """Make a series of `count` slices in `folder`: the available ones, their mirror images, and so on.

    A repeated slice in the same chunk would compress better than any real series; mirror images do not.

    Args:
        in_archive: True puts the slices into a zip; else they are links in a folder.
    """
    kind, found = slice_files(folder)
    if count > len(found):
        found = (*found, *_mirrored(found, folder / "mirrored"))
    files = tuple(itertools.islice(itertools.cycle(found), count))
    root = folder / "Images_png"
    shutil.rmtree(root, ignore_errors=True)
    link(files, root / str(_SERIES))
    if in_archive:
        index = index_archives([ArchiveEntry(str(_pack(root)))])
    else:
        index = index_folder(str(root))
        index = with_checksums(index, np.ones(len(index.slices), bool))
    planned = plan_run(_SERIES, index.slices, spacing_zyx_mm, IMAGE, volume)
    return Sample(kind, files, index.containers, planned)


def _mirrored(files: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    mirrored = [folder / f"{number:03d}.png" for number in range(len(files))]
    for file, target in zip(files, mirrored, strict=True):
        if not target.exists():
            imageio.imwrite(target, read_png(file.read_bytes(), IMAGE)[:, ::-1])
    return mirrored


def link(files: Sequence[Path], folder: Path) -> None:
    """Make a series' folder of links to its slices, in this order."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files, 1):
        (folder / f"{number:03d}.png").symlink_to(file.resolve())


def _pack(root: Path) -> Path:
    archive = root.with_name("Images_png_01.zip")
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(root.glob("*/*.png")):
            opened.write(file, file.relative_to(root.parent).as_posix())
    return archive


def convert(sample: Sample, volume: Volume, store: Path) -> Receipt:
    """Convert the sample into a store that does not have it.

    Raises:
        OSError: the conversion failed or is incomplete.
    """
    conversion = Converter(str(store), sample.containers)(sample.with_volume(volume))
    if not isinstance(conversion, Conversion) or len(conversion.built) != 1:
        raise OSError(f"the sample was not converted to one volume: {conversion}")
    return conversion.built[0][1]


def stored_level(store: Path, receipt: Receipt) -> LevelVoxels:
    """Open a converted volume's voxels, read lazily."""
    return open_level(open_objects(str(store)), receipt.path)

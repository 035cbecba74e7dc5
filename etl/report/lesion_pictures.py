"""Pictures of lesions: the square of the key slice around each, in its window, with its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from etl.core.errors import EtlError
from etl.export.key_slices import marks_of
from etl.export.protocol import UNLABELLED
from etl.imaging.window import to_grey
from etl.report.overlays import mark_paths
from etl.report.voxels import THREADS, data_url, encode_jpeg
from etl.store.crops import centers_vox, crop_around
from etl.store.reader import Store

LARGEST_PX = 240
SIZES_MM = (40.0, 160.0)
"""Edge of the squares, at least and at most."""


@dataclass(frozen=True, eq=False)
class LesionPicture:
    """One lesion as a page shows it.

    Attributes:
        lesion: row of the lesions table, as a named tuple.
        image: URL of a JPEG with the picture in it; empty where the voxels can't be read.
        drawing: SVG of the measurements, over the picture.
        failed: reason that there is no picture, or empty.
    """

    lesion: Any
    image: str
    drawing: str
    failed: str = ""

    @property
    def lesion_id(self) -> int:
        """Number of the lesion."""
        return int(self.lesion.lesion_id)

    @property
    def marks(self) -> Markup:
        """The drawing as part of a page."""
        return Markup(self.drawing)

    def drawn_at(self, x: float, y: float, edge: float) -> str:
        """Return picture and measurements as SVG, to be part of a larger drawing."""
        place = f'x="{x:g}" y="{y:g}" width="{edge:g}" height="{edge:g}"'
        if not self.image:
            return f'<rect class="none" {place}/>'
        return f'<image {place} href="{self.image}"/>' + self.drawing.replace("<svg ", f"<svg {place} ", 1)

    @property
    def type(self) -> str:
        """Coarse type by name."""
        return str(self.lesion.coarse_type) if isinstance(self.lesion.coarse_type, str) else UNLABELLED

    @property
    def size(self) -> str:
        """Both diameters as text."""
        return f"{self.lesion.long_diameter_mm:.1f} x {self.lesion.short_diameter_mm:.1f} mm"

    @property
    def place(self) -> str:
        """Published relative place as text."""
        return ", ".join(f"{getattr(self.lesion, f'norm_{axis}'):.2f}" for axis in "xyz")

    @property
    def window(self) -> str:
        """Display window as text."""
        return f"{self.lesion.window_low_hu:g} to {self.lesion.window_high_hu:g} HU"


def common_size_mm(long_diameters_mm: Iterable[float]) -> float:
    """Return the edge of squares that show all of these lesions at one scale."""
    low, high = SIZES_MM
    return min(max(2.5 * max(long_diameters_mm, default=0.0), low), high)


def lesion_pictures(
    store: Store, lesions: pd.DataFrame, sizes_mm: Sequence[float]
) -> dict[int, LesionPicture]:
    """Return a picture of each lesion by lesion_id. One that can't be read has the reason instead.

    Args:
        lesions: whole rows of the lesions table.
        sizes_mm: edge of the square around each.
    """
    spacings = store.volumes(columns=["volume_id", "spacing_y_mm", "spacing_x_mm", "shape_z"])
    volumes = spacings.set_index("volume_id")
    centers = centers_vox(lesions).tolist()

    def picture(task: tuple[Any, list[float], float]) -> LesionPicture:
        lesion, (z, y, x), size_mm = task
        volume = volumes.loc[lesion.volume_id]
        ny, nx = (max(round(size_mm / float(volume[f"spacing_{axis}_mm"])), 2) for axis in "yx")
        plane = min(round(z), int(volume["shape_z"]) - 1)
        crop = crop_around((plane, y, x), (1, ny, nx))
        try:
            voxels_hu = crop.read(store.array(lesion.volume_id))[0]
        except EtlError as error:
            return LesionPicture(lesion, "", "", f"{lesion.volume_id}: {error.what}")
        except (OSError, RuntimeError, ValueError) as error:
            return LesionPicture(lesion, "", "", f"{lesion.volume_id}: {type(error).__name__}: {error}")
        window_hu = (float(lesion.window_low_hu), float(lesion.window_high_hu))
        paths = "".join(mark_paths(marks_of(lesion), crop.start[2], crop.start[1]))
        box = f"-0.5 -0.5 {nx} {ny}"
        drawing = (
            f'<svg class="marks" viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{paths}</svg>'
        )
        return LesionPicture(
            lesion, data_url(encode_jpeg(to_grey(voxels_hu, window_hu), LARGEST_PX)), drawing
        )

    tasks = zip(lesions.itertuples(index=False), centers, sizes_mm, strict=True)
    with ThreadPoolExecutor(THREADS) as pool:
        return {found.lesion_id: found for found in pool.map(picture, tasks)}

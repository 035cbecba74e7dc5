"""A store as a prompt and a notebook show it: one line of text, or counts and a picture of a lesion."""

from __future__ import annotations

import base64
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from etl.core.counted import bytes_text, counted
from etl.core.errors import EtlError
from etl.imaging.window import to_grey
from etl.store.named import stored_bytes
from etl.store.versions import Version

if TYPE_CHECKING:
    from etl.store.reader import Store

PICTURE_MM = 96.0
PICTURE_PX = 192
_RED = (255, 64, 64)


def store_text(root: str, version: Version) -> str:
    """Return one line: place, version, counts and size."""
    counts = version["counts"]
    return (
        f"Store({_shown(root)!r}, version {version['version']}: {counted(counts['volumes'], 'volume')}, "
        f"{counted(counts['lesions'], 'lesion')}, {bytes_text(stored_bytes(version))})"
    )


def store_html(store: Store) -> str:
    """Return the line, a table of counts, and a key slice around one lesion with its box."""
    version, counts = store.version, store.version["counts"]
    volume = version["config"]["volume"]
    spacing = volume["spacing_mm"]
    rows = {
        "patients": f"{counts['patients']:,}",
        "volumes": f"{counts['volumes']:,}",
        "lesions": f"{counts['lesions']:,}",
        "rejected": ", ".join(counted(counts[f"{unit}s_rejected"], unit) for unit in ("row", "slice")),
        "spacing": f"{spacing} mm" if isinstance(spacing, int | float) else str(spacing),
        "tables": ", ".join(version["tables"]),
        "published": str(version["created_at"]),
    }
    row = Markup("<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>")
    table = Markup("").join(row.format(name, value) for name, value in rows.items())
    return str(
        Markup(
            "<div><code>{}</code><div style='display:flex;gap:1em'>{}<table>{}</table></div></div>"
        ).format(store_text(store.objects.root, version), _picture(store), table)
    )


def _picture(store: Store) -> Markup:
    """Return the first lesion of the version, or nothing where it can't be read."""
    from PIL import Image, ImageDraw

    try:
        lesions = store.lesions()
        if lesions.empty:
            return Markup("")
        lesion = lesions.iloc[0]
        crop = store.crop(lesion, (1.0, PICTURE_MM, PICTURE_MM))
        window = (float(lesion["window_low_hu"]), float(lesion["window_high_hu"]))
        image = Image.fromarray(to_grey(np.asarray(crop)[crop.shape[0] // 2], window)).convert("RGB")
    except (EtlError, OSError):
        return Markup("")
    scales = {"x": PICTURE_PX / image.width, "y": PICTURE_PX / image.height}
    image = image.resize((PICTURE_PX, PICTURE_PX))
    corners = [
        ((lesion[f"bbox_{name}_mm"] - float(crop[name[0]][0])) / _step(crop, name[0]) + 0.5) * scales[name[0]]
        for name in ("x1", "y1", "x2", "y2")
    ]
    ImageDraw.Draw(image).rectangle([round(float(c)) for c in corners], outline=_RED)
    file = io.BytesIO()
    image.save(file, format="PNG")
    text = f"lesion {lesion['lesion_id']}"
    source = base64.b64encode(file.getvalue()).decode()
    return Markup("<img alt='{0}' title='{0}' src='data:image/png;base64,{1}'>").format(text, source)


def _step(crop: Any, axis: str) -> float:
    return float(crop.attrs["spacing_mm"]["zyx".index(axis)])


def _shown(root: str) -> str:
    """Return a path below the working directory relative to it, any other place as it is."""
    if "://" in root:
        return root
    relative = os.path.relpath(root)
    return root if relative.startswith("..") else relative

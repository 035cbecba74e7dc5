"""`python -m tests.regenerate_pictures`: the pictures of README and docs, and the outputs of the notebook.

They are made of the phantom, in a folder of their own. Needs Chromium, and niivue (make viewer).
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from etl.export.key_slices import draw_marks, marks_of
from etl.imaging.window import to_grey
from etl.phantom import write_phantom
from etl.report.report import write_report
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.browser import chromium, serving, wait
from tests.support.notebooks import code_of, read_notebook, run_cell
from tests.support.processes import ROOT
from tests.support.stored import build_store, config_data

DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "first-look.ipynb"
PICTURES = DOCS / "pictures"
LESION_ID = 8
SCALE, HALF_PX = 3, 192
COLOURS = 255


def main() -> None:
    """Write docs/pictures/*.png and the outputs of docs/first-look.ipynb."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(folder / "build" / "phantom")
        build_store(config_data(folder / "build" / "phantom", folder / "build" / "store"), SerialExecutor())
        store = open_store(folder / "build" / "store")
        write_report(store)
        _run_notebook(folder)
        _save("lesion", Image.fromarray(lesion_picture(store)))
        with serving(store) as address, chromium(folder / "profile", 1100, 760) as page:
            page.get((folder / "build/store/reports/000001/index.html").as_uri() + "#release")
            _save("report", _screen(page))
            lesion = store.lesions().set_index("lesion_id").loc[LESION_ID]
            page.get(f"{address}/viewer/#{lesion.volume_id}/{LESION_ID}")
            wait(page, "return window.viewer !== undefined")
            wait(page, "return document.getElementById('position').textContent.includes('HU')")
            page.execute_script("document.getElementById('store').textContent = 'build/store, version 1'")
            _save("viewer", _screen(page))


def _run_notebook(folder: Path) -> None:
    os.chdir(folder)
    notebook = read_notebook(NOTEBOOK)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if code := code_of(cell):
            cell["execution_count"] = number
            cell["outputs"] = run_cell(code, names)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def lesion_picture(store: Store) -> np.ndarray[Any, Any]:
    """Return 128 x 128 mm of a key slice with its marks, three pixels a voxel."""
    lesion = store.lesions().set_index("lesion_id", drop=False).loc[LESION_ID]
    plane = np.asarray(store.array(lesion.volume_id)[round(lesion.z_vox)])
    grey = to_grey(plane, (lesion.window_low_hu, lesion.window_high_hu))
    drawn = draw_marks(grey, [marks_of(lesion)], scale=SCALE)
    y, x = (round((lesion[f"bbox_{a}1_vox"] + lesion[f"bbox_{a}2_vox"]) / 2 * SCALE) for a in "yx")
    return drawn[y - HALF_PX : y + HALF_PX, x - HALF_PX : x + HALF_PX]


def _screen(page: Any) -> Image.Image:
    return Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("RGB")


def _save(name: str, image: Image.Image) -> None:
    image.thumbnail((900, 900))
    image.quantize(COLOURS).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()

"""A folder of four small CT series of three patients, as trainings read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NAMES = ("one_chest", "one_a_chest", "two_b_abdomen", "three_pelvis")


def write_ct_folder(folder: Path) -> Path:
    folder.mkdir()
    for number, name in enumerate(NAMES):
        hu = np.random.default_rng(number).integers(-900, 200, (12, 16, 16)).astype(np.int16)
        np.savez(folder / f"{name}.npz", hu=hu, spacing_mm=np.array([5.0, 20.0, 20.0]))
    return folder

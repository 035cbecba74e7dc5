from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.annotations.documents import nifti
from tests.support.masked_store import masked_store
from tests.support.shared import made_once
from tests.support.stored import build_store, config_data
from tests.support.tiny_release import csv_row


@pytest.fixture(scope="session")
def demo_store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the whole synthetic release at 2 mm. Read only."""

    def build(folder: Path) -> None:
        build_store(config_data(phantom[0], folder, volume={"spacing_mm": 2.0}), SerialExecutor())

    root, _ = made_once(tmp_path_factory, "demo_store", build)
    return open_store(str(root))


@pytest.fixture(scope="session")
def few_masks(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Volumes of 25 x 8 x 8 voxels of 1 mm, whose lesions have a mask of the whole, of the key slice or none.

    Patient 1 is of train: lesion 0 with a mask of the whole, lesion 1 without one, and lesion 2 with its box.
    Patient 2 is of val, lesion 3 with a mask of the whole. Patient 3 is of test, lesion 4 with a mask of its
    key slice. Patient 4 is of train, lesion 5 without a mask. Read only.
    """
    split, series = "Train_Val_Test", [f"{patient:06d}_01_01" for patient in range(1, 5)]
    rows = [
        csv_row(series[0], 4, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
        csv_row(series[0], 11, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
        csv_row(
            series[0],
            11,
            (1, 13),
            **{split: "1"},
            Coarse_lesion_type="-1",
            Measurement_coordinates="7, 9, 11, 9, 8, 7, 8, 10",
            Lesion_diameters_Pixel_="4, 3",
        ),
        csv_row(series[1], 6, (1, 13), **{split: "2"}),
        csv_row(series[2], 7, (1, 13), **{split: "3"}, Coarse_lesion_type="1"),
        csv_row(series[3], 7, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
    ]
    masks = {
        f"{series[0]}_004_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 8)),
        f"{series[1]}_006_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 6)),
        f"{series[2]}_007_sample_0.nii.gz": nifti(np.ones((6, 4, 1)), (0.5, 0.5, 2.0), (5, 6, 6)),
    }
    folder = tmp_path_factory.mktemp("few_masks")
    return masked_store(folder, rows, masks, {name: range(1, 14) for name in series})

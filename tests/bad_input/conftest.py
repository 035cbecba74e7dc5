from __future__ import annotations

import csv
from pathlib import Path

import pytest

from etl.phantom import write_phantom
from tests.support.shared import made_once
from tests.support.workshop import Release, Workshop, build_outcome, config_of, csv_text, zipped


@pytest.fixture(scope="session")
def small_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return made_once(tmp_path_factory, "small_release", made)[1]


def made(folder: Path) -> Release:
    """Write the release into a folder, and build it."""
    write_phantom(folder / "phantom", patients=2, archives=1, extracted=True)
    with open(folder / "phantom" / "DL_info.csv", newline="") as file:
        rows = tuple(csv.DictReader(file))
    images = folder / "phantom" / "Images_png"
    paths = sorted(images.glob("*/[0-9]*.png"))
    slices = {path.relative_to(images).as_posix(): path.read_bytes() for path in paths}
    (folder / "DL_info.csv").write_text(csv_text(rows), newline="")
    (folder / "0.zip").write_bytes(zipped(slices))
    sources = {"archives": [str(folder / "0.zip")]}
    return Release(rows, slices, sources, build_outcome(config_of(folder, sources)))


@pytest.fixture
def workshop(tmp_path: Path, small_release: Release) -> Workshop:
    """Ready to build the undamaged release; damage its rows or slices first."""
    return Workshop(tmp_path, small_release)

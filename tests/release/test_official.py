from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path

from etl.release.sources import ANNOTATIONS_SHA256, official_archives

ROOT = Path(__file__).resolve().parents[2]


def test_the_official_release_has_56_archives() -> None:
    archives = official_archives()
    assert [archive.name for archive in archives] == [f"Images_png_{n:02}.zip" for n in range(1, 57)]
    assert sum(archive.bytes or 0 for archive in archives) == 238_116_019_288
    assert sum((archive.bytes or 0) > 2**32 for archive in archives) == 51  # zip64


def test_each_has_its_own_link_and_checksum() -> None:
    archives = official_archives()
    assert all(re.fullmatch(r"https://[\w.]+/shared/static/\w+\.zip", archive.url) for archive in archives)
    assert all(re.fullmatch("[0-9a-f]{64}", archive.sha256) for archive in archives)
    assert re.fullmatch("[0-9a-f]{64}", ANNOTATIONS_SHA256)
    assert len({archive.url for archive in archives}) == 56
    assert len({archive.sha256 for archive in archives}) == 56
    assert len({archive.staged_name for archive in archives}) == 56


def test_they_equal_the_published_list(real_release: Path) -> None:
    with open(real_release / "archives.csv", newline="", encoding="utf-8") as file:
        published = [
            (row["url"], row["name"], int(row["bytes"]), row["sha256"]) for row in csv.DictReader(file)
        ]
    assert [(a.url, a.name, a.bytes, a.sha256) for a in official_archives()] == published


def test_data_files_are_declared_so_that_an_installed_package_has_them() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        file
        for package, patterns in setuptools["package-data"].items()
        for where in setuptools["packages"]["find"]["where"]
        for pattern in patterns
        for file in (ROOT / where / package.replace(".", "/")).glob(pattern)
    }
    data = {
        file
        for file in (ROOT / "etl").rglob("*")
        # `make viewer` has npm put what package.json names next to it.
        if file.is_file()
        and file.suffix not in (".py", ".pyc", ".nbi", ".nbc")
        and "node_modules" not in file.parts
    }
    assert data - shipped == set()
    assert ROOT / "etl/release/official_archives.csv" in shipped

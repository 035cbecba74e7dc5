"""Every recipe of docs/store.md runs, against a store on disk and the same store in a bucket."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etl.run.serial import SerialExecutor
from tests.support.processes import ROOT, environment, run, running, wait_until
from tests.support.require import wanting
from tests.support.s3_server import Bucket, use_s3
from tests.support.stored import build_store, config_data, files_below

DOCUMENT = (ROOT / "docs" / "store.md").read_text()
EXAMPLE = str(ROOT / "docs" / "examples" / "train_detector.py")

CHECKS = {
    "With this package": "assert len(lesions) == 2 and plane.dims == ('y', 'x') and image.shape == (64,) * 3",
    "1. pandas": (
        "assert len(lesions) == 9 and set(lesions.split) == {'train', 'val', 'test'}\n"
        "assert lesions.index.is_unique"
    ),
    "2. DuckDB": "assert sizes.lesions.sum() == 9 and set(sizes.split) == {'train', 'val', 'test'}",
    "3. Dask dataframe": "assert len(hu) == 6 and hu.between(-1024, 500).all()",
    "4. Zarr alone": "assert plane.dtype == 'int16' and plane.max() > 0",
    "5. xarray": "assert volume.dtype == 'int16' and slab.dims == ('y', 'x') and float(slab.max()) > 0",
    "6. PyTorch": "assert image.shape[1:] == (1, 32, 64, 64) and own_box.shape[1:] == (4,)",
    "6a. Negatives and whole volumes in PyTorch": (
        "assert sum(holds_lesion) <= 4 and len(both) > len(crops) and whole.box_counts.sum() >= len(crops)\n"
        "assert start_vox.shape == (4, 3) and boxes.shape[0] == 4"
    ),
    "7. NIfTI in SimpleITK": (
        "place = (left_mm - lesion.bbox_x1_mm, posterior_mm - lesion.bbox_y1_mm, superior_mm + lesion.z_mm)\n"
        "assert max(map(abs, place)) < 1e-3"
    ),
    "8. niivue or napari": "assert axes == [(axis, 'millimeter') for axis in 'zyx']",
    "9. S3 with credentials": "assert middle.dtype == 'int16'",
    "10. Pinning a version": "assert number == 1 and len(lesions) == 9",
}


def sections() -> dict[str, str]:
    parts = re.split(r"^##+ (.+)\n", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(title: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", sections()[title], re.MULTILINE | re.DOTALL)


RECIPES = [(title, number) for title in sections() for number in range(len(blocks(title)))]
RECIPES = [(title, number) for title, number in RECIPES if title != "Ten recipes"]


def program(title: str, number: int, store: str) -> str:
    """Return a recipe as a script for the given store; skip it if it needs PyTorch and has none."""
    block = blocks(title)[number]
    if "from torch" in block and importlib.util.find_spec("torch") is None:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    (start,) = blocks("Ten recipes")
    parts = [block] if "open_store" in block else [start, block]
    text = "\n".join([*parts, CHECKS[title]])
    return text.replace("build/store", store).replace("s3://bucket/store", store) + "\n"


def check(title: str, number: int, store: str, folder: Path, in_process: bool = False) -> None:
    """Run a recipe in a folder: its commands, if it has any, then a block of it.

    Args:
        in_process: run a block in this process, whose working directory is the folder, unless it needs a
            process of its own, as data loaders do.
    """
    python = program(title, number, store)
    for line in "".join(blocks(title, "sh")).splitlines():
        words = shlex.split(line.replace("build/store", store))
        assert words[0] == "deeplesion"
        command = [sys.executable, "-m", "etl.commands", *words[1:]]
        if words[1] == "serve":
            check_served([*command, "--port", "0"], folder)
            continue
        done = run(command, cwd=folder)
        assert done.returncode == 0, done.stderr
    if in_process and "torch" not in python:
        exec(compile(python, title, "exec"), {"__name__": "recipe"})
        return
    done = run([sys.executable, "-c", python], cwd=folder)
    assert done.returncode == 0, done.stderr


def check_served(command: list[str], folder: Path) -> None:
    """Check that a server prints its address and has the viewer's page and lists."""
    log = folder / "served.log"
    with running(command, log, cwd=folder):
        wait_until(lambda: "Ctrl-C stops" in log.read_text(), "it said its address")
        (address,) = re.findall(r"http://127\.0\.0\.1:[0-9]+/", log.read_text())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"viewer.js" in opener.open(f"{address}viewer/").read()
        listed = json.loads(opener.open(f"{address}viewer/catalogue.json").read())
    assert len(listed["volumes"]["path"]) == 6
    assert len(listed["lesions"]["lesion_id"]) == 9


@pytest.fixture(scope="module")
def folder(phantom: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store at the document's path."""
    folder = tmp_path_factory.mktemp("recipes")
    data = config_data(phantom[0], folder / "build" / "store", select={"patients": [1, 2, 3]})
    build_store(data, SerialExecutor())
    return folder


@pytest.fixture(scope="module")
def bucket(folder: Path, s3_server: str) -> Iterator[Bucket]:
    """A bucket with the same store under `store`."""
    with pytest.MonkeyPatch.context() as patch:
        use_s3(patch, s3_server)
        bucket = Bucket.make("recipes")
        for name, content in files_below(folder / "build" / "store").items():
            bucket.put(f"store/{name}", content)
        yield bucket


@pytest.mark.slow
def test_the_first_lines_see_a_new_version_in_a_process_that_stays_up(s3_bucket: Bucket) -> None:
    (start,) = blocks("Ten recipes")
    lines = compile(start.replace("build/store", f"{s3_bucket.url}/store"), "start", "exec")
    for number in (1, 2, 3):
        content = json.dumps({"version": number, "tables": {}}).encode()
        s3_bucket.put(f"store/versions/{number:06d}.json", content)
        found: dict[str, Any] = {}
        exec(lines, found)
        assert found["version"]["version"] == number


def test_they_are_numbered_in_order_and_each_is_checked() -> None:
    numbered = [title.split(".")[0] for title in sections() if title[0].isdigit()]
    assert numbered == [*map(str, range(1, 7)), "6a", *map(str, range(7, 11))]
    assert {title for title, _ in RECIPES} == set(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize(("title", "number"), [r for r in RECIPES if "S3" not in r[0]])
def test_on_disk(folder: Path, title: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    check(title, number, "build/store", folder, in_process=True)


@pytest.mark.campaign
@pytest.mark.parametrize(("title", "number"), [r for r in RECIPES if "credentials" not in r[0]])
def test_on_s3(bucket: Bucket, tmp_path: Path, title: str, number: int) -> None:
    check(title, number, f"{bucket.url}/store", tmp_path)


@pytest.mark.campaign
def test_with_credentials_of_a_profile(bucket: Bucket, s3_server: str, tmp_path: Path) -> None:
    title = "9. S3 with credentials"
    (profile,) = blocks(title, "ini")
    (tmp_path / "config").write_text(profile.replace("https://s3.example.org", s3_server))
    without = {name: value for name, value in environment().items() if not name.startswith("AWS_")}
    chosen = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    command = [sys.executable, "-c", program(title, 0, f"{bucket.url}/store")]
    done = run(command, cwd=tmp_path, env=without | chosen | {"AWS_PROFILE": "deeplesion"})
    assert done.returncode == 0, done.stderr
    refused = run(command, cwd=tmp_path, env=without | chosen | {"AWS_EC2_METADATA_DISABLED": "true"})
    assert refused.returncode != 0


@pytest.mark.campaign
def test_the_detector_learns(folder: Path) -> None:
    done = run([sys.executable, EXAMPLE, "build/store", "--steps", "1000"], cwd=folder)
    assert done.returncode == 0, done.stderr
    losses = [float(found) for found in re.findall(r"loss ([0-9.]+)", done.stdout)]
    assert losses[1] < losses[0] / 2
    untrained, *_, trained = (int(count) for count in re.findall(r"finds ([0-9])", done.stdout))
    assert trained > untrained


def test_every_tool_of_the_table_has_its_version_and_a_test() -> None:
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| ([0-9.]+) \| .* \| `(tests/[a-z_/]+\.py)` \|$", DOCUMENT, re.MULTILINE
    )
    assert len(rows) == sections()["Tools"].count("| `tests/") >= 23
    lock, makefile = (ROOT / "requirements.lock").read_text(), (ROOT / "Makefile").read_text()
    for tool, version, test in rows:
        pins = makefile if test.startswith("tests/tools/") else lock
        assert version in re.findall(rf"(?:^|[ \t]){tool}==([^ ;\n]+)", pins, re.MULTILINE), tool
        text = (ROOT / test).read_text() + (DOCUMENT if "recipes" in test else "")
        used = rf"""\b(import|from) {tool.replace("-", "_")}\b|tool\("{tool.replace("-", "_")}[".]"""
        assert re.search(used, text, re.IGNORECASE), tool

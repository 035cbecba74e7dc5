"""The notebook runs from its first cell to its last; README's commands run in a fresh shell, as pasted."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from etl.run.serial import SerialExecutor
from etl.store.layout import CITATION
from tests.support.masked_store import ROWS, masked_store
from tests.support.notebooks import code_of, read_notebook, run_cell
from tests.support.processes import ROOT, run
from tests.support.stored import build_store, config_data

NOTEBOOK = read_notebook(ROOT / "docs" / "first-look.ipynb")
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_every_cell_runs_and_shows_something(
    phantom: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(config_data(phantom[0], tmp_path / "build" / "store"), SerialExecutor())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    kinds = []
    for cell in NOTEBOOK["cells"]:
        if code := code_of(cell):
            if "torch" in code and importlib.util.find_spec("torch") is None:
                continue
            outputs = run_cell(code, names)
            assert outputs, code
            kinds += [kind for output in outputs for kind in output.get("data", [])]
    assert {"image/png", "text/html"} <= set(kinds)


def test_the_picture_has_the_mask_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "Train_Val_Test": "3"} for row in ROWS]
    store = masked_store(tmp_path / "build", rows)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in NOTEBOOK["cells"]:
        if code := code_of(cell):
            run_cell(code, names)
            if "picture" in names:
                break
    expected = store.mask(0, size_mm=names["SIZE_MM"]).sel(z=names["lesion"].z_mm)
    assert np.array_equal(names["mask"], expected)
    assert names["mask"].any()
    # Masked pixels are cyan: their red is half of what it was.
    assert (names["colours"][names["mask"]][:, 0] < names["colours"][names["mask"]][:, 2]).all()


def test_the_notebook_is_committed_as_executed() -> None:
    for cell in NOTEBOOK["cells"]:
        assert not code_of(cell) or cell["outputs"], code_of(cell)
    assert os.sep + "tmp" not in str(NOTEBOOK)


@pytest.mark.campaign
def test_the_readme_runs_in_a_fresh_shell(tmp_path: Path) -> None:
    """All lines of its `sh` blocks in order, then its Python, with nothing of this process's environment."""
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
        for line in block.splitlines()
    ]
    assert lines[0].startswith("deeplesion phantom")
    scripts = Path(sys.executable).parent
    if not (scripts / "deeplesion").exists():
        pytest.skip("needs the package installed: make venv")
    variables = {
        "PATH": f"{scripts}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
    }
    python = [
        f"cat > step.py <<'END'\n{block}END\npython step.py"
        for block in re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    ]
    script = "\n".join(["set -e", *lines, *python])
    done = run(["bash", "--noprofile", "--norc", "-c", script], cwd=tmp_path, env=variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "coco" / "annotations" / "test.json").is_file()


def test_readme_shows_pictures_that_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 3
    assert all((ROOT / name).stat().st_size < 200_000 for name in pictures)


def test_the_citation_is_the_stores() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["title"], cited["version"]) == (project["name"], project["version"])
    (article,) = cited["references"]
    assert article["doi"] in CITATION
    assert article["title"].lower() in CITATION.lower()

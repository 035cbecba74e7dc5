"""The wheel alone does everything: in an environment of its own, from an empty folder on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from etl.report.serving import NIIVUE, missing_viewer
from tests.support.processes import LIMIT_SECONDS, ROOT, environment, run

UV = Path(sys.executable).with_name("uv")
READ = """
from deeplesion_store import LesionCrops, open_store
import etl, sys
assert etl.__file__.startswith(sys.prefix), etl.__file__
store = open_store("build/store", version=1)
assert len(store.lesions()) and store.volume(store.volumes().volume_id[0]).dtype == "int16"
"""


@pytest.fixture(scope="module")
def environment_of_the_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the requirements of this one by a path: nothing is downloaded."""
    if not UV.exists():
        pytest.skip("needs uv, which `make venv` installs")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "etl", copy / "etl", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    options = ["--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([UV, "build", "--wheel", *options, "-o", folder, copy], check=True, timeout=LIMIT_SECONDS)
    (wheel,) = folder.glob("*.whl")
    made = folder / "environment"
    venv.create(made, symlinks=True)
    python = made / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True, timeout=LIMIT_SECONDS)
    (site_packages,) = made.glob("lib/python*/site-packages")
    (site_packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return made


@pytest.mark.campaign
def test_an_empty_folder_becomes_a_store(environment_of_the_wheel: Path, tmp_path: Path) -> None:
    path = f"{environment_of_the_wheel / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = environment() | {"PATH": path, "PYTHONPATH": ""}

    def shell(line: str) -> str:
        done = run(["sh", "-c", line], cwd=tmp_path, env=variables)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout + done.stderr

    shell("deeplesion phantom build/phantom --patients 1 --archives 1")
    assert "published" in shell("deeplesion build demo --set cluster=serial --set report=false")
    assert "all right" in shell("dask-submit --workers 1 deeplesion verify build/store")
    assert "current" in shell("deeplesion versions build/store list")
    shell("deeplesion config mine > mine.yaml && grep -q partial mine.yaml")
    (tmp_path / "read.py").write_text(READ)
    shell("python read.py")
    ask = "from etl.report.serving import NIIVUE, missing_viewer as m; print(m())"
    said = shell(f'python -c "{ask}"')
    if missing_viewer() is None:
        assert said.strip() == "None"
        (viewer,) = environment_of_the_wheel.glob("lib/*/site-packages/etl/report/viewer")
        assert {"niivue_licence.txt", "niivue.licences.txt"} < {path.name for path in viewer.iterdir()}
        assert NIIVUE in (viewer / "niivue_licence.txt").read_text()
        assert json.loads((viewer / "package.json").read_text())["dependencies"] == {"@niivue/niivue": NIIVUE}
    else:
        assert "make viewer" in said
        assert str(environment_of_the_wheel) in said

"""The recipes of tools in docs/store.md, as they are written there. `make tools` installs the tools."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from etl.commands.deeplesion import main
from etl.store.reader import Store
from tests.support.processes import ROOT
from tests.support.require import tool

pytestmark = pytest.mark.campaign


def test_each_recipe_runs(demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("monai", "torchio", "ngff_zarr", "tensorstore", "neuroglancer"):
        tool(name)
    text = (ROOT / "docs" / "store.md").read_text().split("### Recipes of tools")[1].split("## Columns")[0]
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "store").symlink_to(demo_store.objects.root)
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for line in commands.splitlines():
        done = CliRunner().invoke(main, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
    names: dict[str, Any] = {}
    recipes = re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(recipes) == 6
    for recipe in recipes:
        exec(compile(recipe, "docs/store.md", "exec"), names)
    lesion, store = names["lesion"], names["store"]
    assert names["sample"]["box"].shape[1] == 6
    assert names["ras_mm"][:3] == pytest.approx(
        [-lesion.lps_x_mm, -lesion.lps_y_mm, lesion.lps_z_mm], abs=1e-3
    )
    size = names["itk_image"].GetLargestPossibleRegion().GetSize()
    assert list(size) == list(names["voxels_hu"].shape[::-1])
    voxels = store.array(lesion.volume_id)
    assert np.array_equal(names["plane"], voxels[voxels.shape[0] // 2])
    assert str(names["path"]) in str(names["viewer"].state.to_json())

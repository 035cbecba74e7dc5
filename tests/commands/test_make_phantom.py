from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.phantom import is_written, phantom_truth
from jobs.make_phantom import main


@pytest.mark.slow
def test_every_option_reaches_the_release(tmp_path: Path) -> None:
    chosen = {"patients": 1, "archives": 2, "seed": 5, "followups": 1, "looks": 1, "extracted": True}
    chosen["whole_bodies"] = 1
    named = {name.replace("_", "-"): value for name, value in chosen.items() if value}
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in named.items()]
    done = CliRunner().invoke(main, [str(tmp_path), *words])
    assert done.exit_code == 0, done.output
    assert {option.name for option in main.params} == {"out", *chosen}
    assert is_written(tmp_path, phantom_truth(**chosen))
    assert "(already there, nothing written)" in CliRunner().invoke(main, [str(tmp_path), *words]).output

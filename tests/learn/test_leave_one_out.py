from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.errors import ConfigError
from etl.learn.leave_one_out import leave_one_out, table_of
from etl.learn.loop import CHECKPOINT
from tests.learn.test_training import config_of
from tests.support.made_up_series import bars


def test_each_patient_is_left_out_of_one_training(tmp_path: Path) -> None:
    config = config_of(tmp_path, steps=4)
    rows = list(leave_one_out(config, bars(train=3)))
    assert [row.series for row in rows] == ["series-0", "series-1", "series-2"]
    assert [row.slices for row in rows] == [24] * 3
    assert len(list(tmp_path.glob(f"*/{CHECKPOINT}"))) == 3
    assert list(leave_one_out(config, bars(train=3))) == rows, "trainings are continued, here from their end"
    table = table_of(rows).splitlines()
    assert table[0].startswith("| patient | series | slices | length_mm | spearman |")
    assert len(table) == 5


@pytest.mark.parametrize("patients", [0, 1])
def test_one_patient_is_not_enough(tmp_path: Path, patients: int) -> None:
    series = [one for one in bars(train=3) if one.split != "train" or one.name < f"series-{patients}"]
    with pytest.raises(ConfigError, match="nobody to learn from"):
        next(leave_one_out(config_of(tmp_path, steps=4), series))

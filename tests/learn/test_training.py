"""Trainings of a few steps on small images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import ConfigError, RunError
from etl.learn.batches import choose_slices, is_long_enough, make_batch
from etl.learn.curves import csv_text, svg_text
from etl.learn.finish import finished
from etl.learn.loop import CHECKPOINT, random_of
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import TEST, Series, ViewCache, patients_of
from etl.learn.training import Training
from tests.support.made_up_series import PIXELS, bar_series, bars


def config_of(folder: Path, **values: Any) -> RegressorConfig:
    small: dict[str, Any] = {
        "work": str(folder),
        "input": {"pixels": PIXELS, "pixel_mm": 14.0},
        "steps": 20,
        "series": 2,
        "anchor": 0,
        "validate_steps": 5,
        "checkpoint_steps": 7,
    }
    return RegressorConfig.model_validate(small | values)


@pytest.mark.parametrize("loss", ["distance", "order"])
def test_twenty_steps_are_ten_and_a_kill_and_ten_more(tmp_path: Path, loss: str) -> None:
    values = {"loss": loss, "anchor": 1, "validate_steps": 10}
    whole = Training(config_of(tmp_path / "whole", **values), bars())
    whole.run(20)
    first = Training(config_of(tmp_path / "parts", **values), bars())
    first.run(10)
    # Steps after the last checkpoint are lost with the process.
    for _ in range(3):
        first._make_step()
    second = Training(config_of(tmp_path / "parts", **values), bars())
    assert second.resume()
    assert second.step == 10
    second.run(20)
    assert second.state_bytes() == whole.state_bytes()
    assert [p.step for p in second.curve] == [10, 20]
    last = [
        (folder / whole.identity / CHECKPOINT).read_bytes()
        for folder in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert last[0] == last[1]


def test_a_checkpoint_of_another_training_is_not_continued(tmp_path: Path) -> None:
    one = Training(config_of(tmp_path), bars())
    one.run(1)
    assert not Training(config_of(tmp_path, seed=1), bars()).resume()
    assert not Training(config_of(tmp_path), bars(train=2)).resume()
    first, *others = bars()
    for change in ({"made_of": "others"}, {"norm_z": first.norm_z + 0.1}, {"mm": first.mm * 2}):
        assert not Training(config_of(tmp_path), [replace(first, **change), *others]).resume()
    assert Training(config_of(tmp_path), bars()).resume()
    path = one.folder / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="no checkpoint of this training"):
        Training(config_of(tmp_path), bars()).resume()


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(116, "Stale file handle"),
        torch.OutOfMemoryError("CUDA"),
    ],
)
def test_a_checkpoint_that_can_t_be_read_now_is_not_to_be_deleted(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(config_of(tmp_path), bars()).run(1)

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr("etl.learn.loop.safe_open", fail)
    with pytest.raises(RunError, match="the checkpoint can't be read now") as caught:
        Training(config_of(tmp_path), bars()).resume()
    assert "delete" not in str(caught.value)


def test_a_checkpoint_is_looked_for_by_opening_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.14 on, is_file() is False on a mount that does not answer, too."""
    Training(config_of(tmp_path), bars()).run(1)
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    assert Training(config_of(tmp_path), bars()).resume()


def test_a_training_learns_the_order(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, steps=40, rate=3e-3, average=0.8, augment={"mirror": False, "rotate_degrees": 0}
    )
    training = Training(config, bars(train=6))
    before = training.validate()
    training.run(40)
    assert training.curve[-1].spearman > max(0.9, before)


@pytest.mark.parametrize("loss", ["distance", "order"])
def test_a_training_that_diverges_ends_and_says_what_to_change(tmp_path: Path, loss: str) -> None:
    config = config_of(tmp_path, loss=loss, rate=1e30, checkpoint_steps=1)
    training = Training(config, bars())
    with pytest.raises(ConfigError, match="the training diverged") as error:
        training.run(20)
    assert training.step < 20
    assert "rate=1e+29" in str(error.value)
    again = Training(config, bars())
    assert again.resume()
    assert again.step == training.step - 1
    with pytest.raises(ConfigError, match="the training diverged"):
        again.run(20)


@pytest.mark.parametrize(("val", "said"), [(1, "what its model gives"), (0, "a weight is no number")])
def test_a_training_whose_last_step_spoils_its_weights_ends(tmp_path: Path, val: int, said: str) -> None:
    training = Training(config_of(tmp_path, steps=2), bars(val=val))
    training.run(1)
    next(training.net.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(ConfigError, match=f"(?s)the training diverged: {said}.*step 2"):
        training.run(2)
    again = Training(training.config, training.series)
    assert again.resume()
    assert again.step == 1


def test_a_model_that_gives_no_numbers_is_not_published(tmp_path: Path) -> None:
    training = Training(config_of(tmp_path, steps=1, rate=1e30), bars(val=0))
    training.run(1)
    with pytest.raises(ConfigError, match="the training diverged: what its model gives"):
        finished(training, {}, ((), ""))


def test_a_training_without_long_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no series can be trained on"):
        Training(config_of(tmp_path), [bar_series(1, slices=3)])


@given(
    st.integers(4, 60), st.floats(0.25, 22.5), st.integers(0, 10**6), st.sampled_from(["distance", "order"])
)
def test_chosen_slices_ascend_within_the_series(n: int, apart_mm: float, seed: int, loss: Any) -> None:
    mm = np.arange(n) * apart_mm
    if not is_long_enough(mm, loss):
        with pytest.raises(ValueError, match="too few"):
            choose_slices(mm, loss, random_of(seed, 0))
        return
    chosen = choose_slices(mm, loss, random_of(seed, 0))
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < n
    if loss == "order":
        assert len(set(np.diff(chosen).tolist())) == 1


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path)

    def batch(step: int) -> torch.Tensor:
        made = make_batch(
            bars(),
            ViewCache(),
            "distance",
            2,
            config.input,
            config.augment,
            random_of(3, step),
            with_anchors=True,
        )
        assert made.anchors.shape == (16, PIXELS, PIXELS)
        assert not made.norm_z.isnan().any()
        assert 0 <= made.slices.min() <= made.slices.max() <= 1
        return made.slices

    assert torch.equal(batch(5), batch(5))
    assert not torch.equal(batch(5), batch(6))


def test_slices_are_kept_in_a_folder(tmp_path: Path) -> None:
    series = bar_series(1)
    first = ViewCache(str(tmp_path)).of(series)
    gone = Series(series.name, series.patient, series.split, series.mm, series.norm_z, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    assert np.array_equal(ViewCache(str(tmp_path)).of(gone), first)


def test_a_patient_is_in_one_split() -> None:
    split = patients_of(bars())
    assert {name: len(patients) for name, patients in split.items()} == {"train": 3, "val": 1, "test": 0}
    with pytest.raises(ValueError, match="two splits"):
        patients_of([bar_series(1), bar_series(1, split=TEST)])


def test_curves_say_what_was_measured(tmp_path: Path) -> None:
    training = Training(config_of(tmp_path, steps=10), bars())
    training.run(10)
    lines = csv_text(training.curve).splitlines()
    assert lines[0] == "step,loss,anchor,rate,spearman"
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "10"]
    assert svg_text(training.curve).count("<polyline") == 2


def test_as_many_series_are_held_as_fit_into_memory() -> None:
    reads: list[str] = []
    one = bar_series(1, slices=10)

    def named(name: str) -> Series:
        def read() -> np.ndarray:
            reads.append(name)
            return one.read()

        return Series(name, name, one.split, one.mm, one.norm_z, read)

    a, b, c = (named(name) for name in "abc")
    cache = ViewCache(most_bytes=2 * one.read().nbytes)
    for series in (a, b, a, c, a, b, c):
        cache.of(series)
    # b was used longest ago when c came, c when b came again.
    assert reads == ["a", "b", "c", "b", "c"]

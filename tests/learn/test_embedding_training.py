"""Trainings of embeddings of a few steps on small crops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etl.core.config_file import load_as
from etl.core.errors import ConfigError
from etl.derive.embedding_input import EmbeddingInput
from etl.learn.batches import random_affines
from etl.learn.embedding_batches import changed_crops, moved_boxes, plain_crops
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.embedding_labels import known_types, refined, type_of_tags
from etl.learn.embedding_training import EmbeddingTraining
from etl.learn.loop import CHECKPOINT, random_of
from etl.learn.series import TEST, TRAIN, VAL, ViewCache
from tests.support.made_up_lesions import made_up


def config_of(folder: Path, **values: Any) -> EmbeddingConfig:
    small: dict[str, Any] = {
        "work": str(folder),
        "input": {"pixels": 16, "edge_mm": 32.0},
        "dimensions": 4,
        "steps": 20,
        "sequences_a_step": 2,
        "validate_steps": 10,
        "checkpoint_steps": 7,
        "labels": {"confidence": 0.6, "refine_steps": 6},
    }
    return EmbeddingConfig.model_validate(small | values)


def test_twenty_steps_are_ten_and_a_kill_and_ten_more(tmp_path: Path) -> None:
    config = config_of(tmp_path / "whole")
    examples = made_up(config)
    whole = EmbeddingTraining(config, examples)
    whole.run(20)
    first = EmbeddingTraining(config_of(tmp_path / "parts"), examples)
    first.run(10)
    # Steps after the last checkpoint are lost with the process; types were propagated in them again.
    for _ in range(4):
        first._make_step()
    second = EmbeddingTraining(config_of(tmp_path / "parts"), examples)
    assert second.resume()
    assert second.step == 10
    second.run(20)
    assert second.state_bytes() == whole.state_bytes()
    assert [point.step for point in second.curve] == [10, 20]
    last = [(one.folder / CHECKPOINT).read_bytes() for one in (whole, second)]
    assert last[0] == last[1]
    assert not EmbeddingTraining(config_of(tmp_path / "parts", seed=1), examples).resume()


def test_a_checkpoint_of_other_lesions_is_not_continued(tmp_path: Path) -> None:
    config = config_of(tmp_path, steps=1)
    examples = made_up(config)
    first = EmbeddingTraining(config, examples)
    first.run(1)
    lesions, types, known = examples.lesions, examples.types, first.known
    not_seed = (examples.split == VAL) & ~known.seeds
    for other in (
        {"lesions": replace(lesions, place=lesions.place + 0.001)},
        {"lesions": replace(lesions, log_diameters=lesions.log_diameters + 0.001)},
        {"boxes": examples.boxes + np.float32(0.001)},
        {"types": np.where(not_seed, 9 - types, types)},
        # The types that were propagated are published ones now.
        {"types": np.where(examples.split == TRAIN, known.types, types)},
    ):
        assert not EmbeddingTraining(config, replace(examples, **other)).resume()
    tested = replace(examples, types=np.where(examples.split == TEST, 9 - types, types))
    for same in (examples, tested):
        assert EmbeddingTraining(config, same).resume()


def test_a_training_learns_what_lesions_look_like(tmp_path: Path) -> None:
    config = config_of(tmp_path, steps=60, rate=3e-3, average=0.8, sequences_a_step=4)
    training = EmbeddingTraining(config, made_up(config))
    training.run(60)
    assert training.curve[-1].top1 > 0.9
    assert training.curve[-1].loss < training.curve[0].loss


def test_seeds_are_whole_patients_of_val(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    examples = made_up(config)
    known = known_types(examples, config.labels, seed=3)
    patients = examples.lesions.patient
    assert set(examples.split[known.seeds]) == {VAL}
    assert not set(patients[known.seeds]) & set(patients[~known.seeds])
    assert len(set(patients[known.seeds])) == 6, "half of the twelve patients of val"
    assert (known.types[known.seeds] == examples.types[known.seeds]).all()
    assert (known.types[~known.learned] == 0).all(), "lesions of other val patients and of test teach nothing"
    again = known_types(examples, config.labels, seed=3)
    assert np.array_equal(known.types, again.types)
    none = known_types(examples, config.labels.model_copy(update={"seeds": 0.0}), seed=3)
    assert (none.types == 0).all(), "without seeds or tags nothing has a type"


def test_tags_name_types(tmp_path: Path) -> None:
    assert type_of_tags(["abdomen", "liver", "hypoattenuation"]) == 4
    assert type_of_tags(["lung", "right lower lobe"]) == 5
    assert type_of_tags(["retroperitoneum", "left kidney"]) == 6
    assert type_of_tags(["retroperitoneum", "lymph node"]) == 2
    assert type_of_tags(["lung", "liver"]) == 0
    assert type_of_tags([]) == 0
    config = config_of(tmp_path, labels={"source": "tags", "seeds": 0.0})
    examples = made_up(config)
    train = np.flatnonzero(examples.split == "train")
    tags = {int(examples.lesions.lesion_id[train[0]]): ["liver"], 10**6: ["lung"]}
    known = known_types(examples, config.labels, 0, tags)
    assert known.types[train[0]] == 4
    assert (np.delete(known.types, train[0]) == 0).all()


def test_types_spread_to_what_lies_near_clearly(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    examples = made_up(config)
    known = known_types(examples, config.labels, seed=3)
    rows = np.flatnonzero(known.learned)
    # Seeds of type 4 lie at (1, 0), of type 5 at (0, 1); train lesions at one of them or in the middle.
    vectors = np.zeros((len(rows), 2))
    types = examples.types[rows]
    vectors[types == 4, 0] = vectors[types == 5, 1] = 1
    asked = np.flatnonzero(types == 0)
    near_4, between = asked[::2], asked[1::2]
    vectors[near_4] = (1, 0)
    vectors[between] = (0.7, 0.7)
    sure = int(min((types == 4).sum(), 20))
    found = refined(examples, known, rows, vectors, confidence=sure / 20)
    assert (found[rows[near_4]] == 4).all()
    none = refined(examples, known, rows, vectors, confidence=1.0)
    assert (none[rows[between]] == 0).all()
    assert (none[known.seeds] == examples.types[known.seeds]).all()


@pytest.mark.parametrize("seeds", [0.0, 0.04])
def test_types_are_not_propagated_again_without_seeds(tmp_path: Path, seeds: float) -> None:
    def training(refine_steps: int) -> EmbeddingTraining:
        labels = {"source": "tags", "seeds": seeds, "refine_steps": refine_steps}
        config = config_of(tmp_path, labels=labels)
        examples = made_up(config)
        train = np.flatnonzero(examples.split == "train")
        tags = {int(examples.lesions.lesion_id[row]): [("liver", "lung")[int(row % 4 > 1)]] for row in train}
        return EmbeddingTraining(config, examples, tags=tags)

    with pytest.raises(ConfigError, match="no seeds to propagate types from"):
        training(6)
    training(0).run(7)


def test_crops_without_changes_are_those_that_embedding_sees(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    examples, still = (
        made_up(config),
        config.augment.model_copy(
            update={"scale": 1, "shift_mm": 0, "rotate_degrees": 0, "window_hu": 0, "noise": 0, "blur_mm": 0}
        ),
    )
    still = still.model_copy(update={"thickness": False})
    plain = plain_crops(examples, ViewCache(), [3, 1], config.input)
    seen = EmbeddingInput.from_json(config.input.model_dump())
    at = slice(examples.margin, examples.margin + 16)
    assert np.array_equal(plain[0].numpy(), seen.shares(examples.crops[3].read()[1:-1, at, at]))
    same, boxes = changed_crops(examples, ViewCache(), [3, 1], config.input, still, random_of(0, 0))
    assert same.numpy() == pytest.approx(plain.numpy(), abs=1e-4)
    assert boxes.numpy() == pytest.approx(examples.boxes[[3, 1]], abs=1e-6)
    one, two, three = (
        changed_crops(examples, ViewCache(), [3, 1], config.input, config.augment, random_of(0, step))[0]
        for step in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_boxes_move_with_their_lesions(tmp_path: Path) -> None:
    """The middle of brightness of a moved disc is the middle of its moved box."""
    config = config_of(tmp_path, augment={"shift_mm": 4, "rotate_degrees": 20, "scale": 1.1, "noise": 0})
    examples = made_up(config)
    rows = np.flatnonzero((examples.types == 5) & (examples.boxes[:, 0] > 0.3))
    crops, boxes = changed_crops(examples, ViewCache(), rows, config.input, config.augment, random_of(2, 0))
    low, high = config.input.window_hu
    weight = (crops[:, 1] * (high - low) + low - 200).clamp(min=0)
    at = (torch.arange(16) + 0.5) / 16
    x = (weight.sum(1) * at).sum(1) / weight.sum((1, 2))
    y = (weight.sum(2) * at).sum(1) / weight.sum((1, 2))
    assert ((boxes[:, 0] + boxes[:, 2]) / 2).tolist() == pytest.approx(x.tolist(), abs=0.03)
    assert ((boxes[:, 1] + boxes[:, 3]) / 2).tolist() == pytest.approx(y.tolist(), abs=0.03)
    affines = random_affines(1, config.input, config.augment, random_of(1, 1))
    whole = moved_boxes(np.array([[0, 0, 1, 1]], np.float32), affines, 2.0)
    assert ((whole >= 0) & (whole <= 1)).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"net": "lite0"}, "weights is given for the net lite0"),
        ({"dimensions": 2000}, "at most 4096"),
        ({"name": "place"}, "a model without pixels"),
        ({"input": {"slices": 2}}, "slices is odd"),
        ({"input": {"window_hu": [3, 3]}}, "low below high"),
        ({"labels": {"source": "all"}}, "labels.source"),
        ({"step": 5}, "`step` is not a key, did you mean `steps`"),
    ],
)
def test_a_wrong_config_is_refused(tmp_path: Path, values: dict, said: str) -> None:
    import yaml

    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=said):
        load_as(EmbeddingConfig, tmp_path / "a.yaml")


def test_the_configs_of_the_package_are_right() -> None:
    assert load_as(EmbeddingConfig, "embedding").net == "small"
    assert load_as(EmbeddingConfig, "imagenet", ("weights=a.whl",)).name == "imagenet"


def test_an_absent_device_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(ConfigError, match="no such device here"):
        EmbeddingTraining(config, made_up(config, patients=4), "abacus")


def test_a_store_without_sequences_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, sequences={"near_mm": 1e-9})
    with pytest.raises(ConfigError, match="no lesion has a whole sequence"):
        EmbeddingTraining(config, made_up(config, patients=4))

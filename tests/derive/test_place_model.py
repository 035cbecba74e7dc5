from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etl.core.errors import ConfigError
from etl.derive.place_model import TYPE_WEIGHT, encode, learn, read_place_model, scaled
from tests.support.lesions_over_time import lesions_at


def some_lesions(n: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    sizes = [(float(long), float(long) * 0.7) for long in rng.uniform(5, 60, n)]
    return lesions_at([1] * n, [tuple(place) for place in rng.uniform(0.1, 0.9, (n, 3))], diameters_mm=sizes)


def test_committed_weights_embed_each_lesion_by_its_own_numbers() -> None:
    model, lesions = read_place_model(), some_lesions(30)
    vectors = model.embed(lesions)
    assert vectors.shape == (30, 13)
    np.testing.assert_array_equal(vectors[:, :5], scaled(lesions))
    np.testing.assert_allclose((vectors[:, 5:] ** 2).sum(axis=1), TYPE_WEIGHT**2)
    np.testing.assert_allclose(model.embed(lesions.take(np.array([7])))[0], vectors[7], atol=1e-12)
    assert model.made is not None
    assert set(model.made) == {"date", "gallery", "split", "rows"}


def test_learning_is_deterministic_and_separates_what_places_separate(tmp_path: Path) -> None:
    lesions = some_lesions(200)
    types = np.where(lesions.place[:, 2] < 0.5, 5, 8)
    model = learn(lesions, types)
    assert encode(model) == encode(learn(lesions, types))
    probabilities = (model.embed(lesions)[:, 5:] / TYPE_WEIGHT) ** 2
    assert (probabilities.argmax(axis=1) + 1 == types).mean() > 0.97
    path = tmp_path / "model.json"
    path.write_text(encode(model))
    np.testing.assert_array_equal(read_place_model(path).embed(lesions), model.embed(lesions))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"weights"', '"weight"'),
        lambda text: text.replace('"phases": [', '"phases": [0.5, '),
        lambda text: "[]",
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = tmp_path / "model.json"
    path.write_text(damage(encode(read_place_model())))
    with pytest.raises(ConfigError, match="the weights of the model place can't be read"):
        read_place_model(path)

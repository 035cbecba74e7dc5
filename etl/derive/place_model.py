"""The model `place`: an embedding of lesions from their published place and their diameters, without pixels.

Besides the scaled numbers it holds the square roots of the probabilities of the eight coarse types, as a
softmax of random Fourier features (Rahimi and Recht, 2007) gives them: lesions of one organ come together
where organs meet. The weights are learned from labelled rows; embedding a lesion needs no label.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etl.core.errors import ConfigError
from etl.derive.lesion_arrays import Floats, Ints, LesionArrays

COMMITTED = Path(__file__).with_name("place_model.json")
TYPES = 8
INPUTS = ("x", "y", "z", "log_long_diameter", "log_short_diameter")
SCALES = (1.0, 1.0, 2.0, 0.03, 0.03)
FEATURES = 200
LENGTH = 0.2
PENALTY = 0.03
TYPE_WEIGHT = 0.3
ROUNDS = 150
DIGITS = 7
SEED = 19


@dataclass(frozen=True, eq=False)
class PlaceModel:
    """Weights of the embedding.

    Attributes:
        frequencies: (5, f) of the random features, for inputs times `SCALES`.
        phases: (f,).
        weights: (f + 1, 8) of the softmax, the last row without a feature.
        made: date, inputs and how values were chosen.
    """

    frequencies: Floats
    phases: Floats
    weights: Floats
    made: Mapping[str, Any] | None = None

    def embed(self, lesions: LesionArrays) -> Floats:
        """Return (n, 13) vectors: the scaled inputs, and `TYPE_WEIGHT` times the probabilities' roots."""
        return np.concatenate([scaled(lesions), TYPE_WEIGHT * np.sqrt(self.probabilities(lesions))], axis=1)

    def probabilities(self, lesions: LesionArrays) -> Floats:
        """Return (n, 8) probabilities of the coarse types."""
        return _softmax(_features(scaled(lesions), self.frequencies, self.phases) @ self.weights)


def scaled(lesions: LesionArrays) -> Floats:
    """Return the (n, 5) `INPUTS` times `SCALES`."""
    return np.concatenate([lesions.place, lesions.log_diameters], axis=1) * SCALES


def xyz(lesions: LesionArrays) -> Floats:
    """Return the (n, 3) published places, the simplest embedding."""
    return lesions.place


def made_of(gallery: str, split: str | None, rows: int) -> dict[str, Any]:
    """Return what weights learned today say about themselves."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "gallery": Path(gallery).name,
        "split": split,
        "rows": rows,
    }


def learn(lesions: LesionArrays, coarse_type: Ints, made: Mapping[str, Any] | None = None) -> PlaceModel:
    """Fit the softmax by a fixed bound of its curvature (Boehning, 1992), with Nesterov's acceleration.

    Args:
        lesions: n labelled lesions.
        coarse_type: (n,) codes 1 to 8.
    """
    rng = np.random.default_rng(SEED)
    frequencies = _rounded(rng.normal(size=(len(INPUTS), FEATURES)) / LENGTH)
    phases = _rounded(rng.uniform(0, 2 * np.pi, FEATURES))
    features = _features(scaled(lesions), frequencies, phases)
    wanted = np.eye(TYPES)[coarse_type - 1]
    bound = np.linalg.inv(features.T @ features / 2 + PENALTY * np.eye(FEATURES + 1))
    weights = ahead = np.zeros((FEATURES + 1, TYPES))
    for step in range(ROUNDS):
        slope = features.T @ (_softmax(features @ ahead) - wanted) + PENALTY * ahead
        moved = ahead - bound @ slope
        ahead = moved + step / (step + 3) * (moved - weights)
        weights = moved
    return PlaceModel(frequencies, phases, _rounded(weights), made)


def _features(inputs: Floats, frequencies: Floats, phases: Floats) -> Floats:
    waves = np.sqrt(2 / len(phases)) * np.cos(inputs @ frequencies + phases)
    return np.concatenate([waves, np.ones((len(inputs), 1))], axis=1)


def _softmax(scores: Floats) -> Floats:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _rounded(values: Floats) -> Floats:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.ravel()]).reshape(values.shape)


def encode(model: PlaceModel) -> str:
    """Return the weights as JSON text."""
    arrays = {name: getattr(model, name).tolist() for name in ("frequencies", "phases", "weights")}
    lines = [
        f" {json.dumps(name)}: {json.dumps(value)}" for name, value in {"made": model.made, **arrays}.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_place_model(path: Path = COMMITTED) -> PlaceModel:
    """Read a file of weights.

    Raises:
        ConfigError: the file is absent, or does not hold the weights.
    """
    try:
        values = json.loads(path.read_text())
        frequencies, phases, weights = (
            np.array(values[name], np.float64) for name in ("frequencies", "phases", "weights")
        )
        shapes = [array.shape for array in (frequencies, phases, weights)]
        if shapes != [(len(INPUTS), FEATURES), (FEATURES,), (FEATURES + 1, TYPES)]:
            raise ValueError(f"shapes are {shapes}")
        return PlaceModel(frequencies, phases, weights, values["made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the weights of the model place can't be read",
            where=str(path),
            value=f"{type(error).__name__}: {error}",
            allowed=f"JSON with frequencies, phases and weights for {FEATURES} features",
            remedy="learn them with deeplesion evaluate-retrieval --gallery DL_INFO.csv --learn FILE",
        ) from None

"""Train a tiny lesion detector on the crops of a store: NumPy only, one process, about a minute.

    python docs/examples/train_detector.py build/store

For every pixel of a key slice it estimates the probability that the pixel is the centre of a lesion, from
15 x 15 pixels around it on three planes: 16 filters, a rectifier, one sum. The lesion is at the centre of its
crop, but the detector sees only patches, so it can't learn that. A lesion counts as found if the most
probable pixel lies in its box.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click
import numpy as np

from deeplesion_store import LesionCrops, open_store

PATCH, PLANES, FILTERS = 15, (0, 4, 8), 16
SIZE_VOX = (9, 64, 64)
LEARNING_RATE, MIDDLE_PX = 0.002, 2.5


@dataclass(frozen=True)
class Example:
    """One crop: patches (rows, columns, features), a mask of lesion centres, boxes in patches."""

    patches: np.ndarray
    is_middle: np.ndarray
    boxes: np.ndarray


def load(crops: LesionCrops) -> list[Example]:
    """Return all crops of a split, cut into patches."""
    examples = []
    for sample in crops:
        planes = sample["image"][list(PLANES)] - 0.5
        views = np.lib.stride_tricks.sliding_window_view(planes, (PATCH, PATCH), axis=(1, 2))
        patches = np.moveaxis(views, 0, 2).reshape(*views.shape[1:3], -1)
        boxes = sample["boxes"][: int(sample["box_count"])] - PATCH // 2
        on_plane = np.abs(sample["boxes_z"][: len(boxes)] - SIZE_VOX[0] // 2) <= 1
        y, x = np.mgrid[: patches.shape[0], : patches.shape[1]]
        is_middle = np.zeros(patches.shape[:2], bool)
        for x1, y1, x2, y2 in boxes[on_plane]:
            is_middle |= np.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2) <= MIDDLE_PX
        examples.append(Example(patches, is_middle, boxes[on_plane]))
    return examples


class Detector:
    """Two layers, trained by Adam on the logistic loss."""

    def __init__(self, features: int, rng: np.random.Generator) -> None:
        self.weights = [
            rng.normal(0, features**-0.5, (features, FILTERS)),
            np.zeros(FILTERS),
            rng.normal(0, FILTERS**-0.5, FILTERS),
            np.zeros(()),
        ]
        self._means = [np.zeros_like(w) for w in self.weights]
        self._squares = [np.zeros_like(w) for w in self.weights]
        self._steps = 0

    def scores(self, patches: np.ndarray) -> np.ndarray:
        """Return the log odds (...) that patches (..., features) have a lesion at their centre."""
        first, offset, second, bias = self.weights
        return np.maximum(patches @ first + offset, 0) @ second + bias

    def learn(self, patches: np.ndarray, is_middle: np.ndarray) -> float:
        """Take one step on patches (n, features); return the loss before it."""
        first, offset, second, bias = self.weights
        hidden = np.maximum(patches @ first + offset, 0)
        scores = hidden @ second + bias
        loss = float(np.mean(np.logaddexp(0, np.where(is_middle, -scores, scores))))
        slope = (1 / (1 + np.exp(-scores)) - is_middle) / len(scores)
        back = np.outer(slope, second) * (hidden > 0)
        gradients = [patches.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum()]
        self._steps += 1
        for weight, gradient, mean, square in zip(
            self.weights, gradients, self._means, self._squares, strict=True
        ):
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient**2 - square)
            unbiased = mean / (1 - 0.9**self._steps), square / (1 - 0.99**self._steps)
            weight -= LEARNING_RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        return loss


def found(detector: Detector, examples: list[Example]) -> int:
    """Count the crops whose most probable pixel lies in the box of a lesion."""
    hits = 0
    for example in examples:
        scores = detector.scores(example.patches)
        y, x = np.unravel_index(int(scores.argmax()), scores.shape)
        x1, y1, x2, y2 = example.boxes.T
        hits += bool(((x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)).any())
    return hits


def batch(examples: list[Example], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of four crops, a quarter of them at centres of lesions."""
    patches, is_middle = [], []
    for example in rng.choice(np.array(examples, dtype=object), 4):
        for wanted, count in ((True, 16), (False, 48)):
            rows, columns = np.nonzero(example.is_middle == wanted)
            chosen = rng.integers(0, len(rows), count)
            patches.append(example.patches[rows[chosen], columns[chosen]])
            is_middle.append(np.full(count, wanted))
    return np.concatenate(patches), np.concatenate(is_middle)


@click.command()
@click.argument("store")
@click.option("--seconds", default=60.0, show_default=True, help="Duration of the training.")
@click.option("--steps", type=int, help="Number of training steps, instead of a duration.")
def main(store: str, seconds: float, steps: int | None) -> None:
    """Train on the lesions of STORE's split train and find those of val."""
    opened = open_store(store)
    train, val = (load(LesionCrops(opened, split, SIZE_VOX)) for split in ("train", "val"))
    rng = np.random.default_rng(0)
    detector = Detector(train[0].patches.shape[-1], rng)
    click.echo(f"{len(train)} lesions to learn from; untrained it finds {found(detector, val)} of {len(val)}")
    start, step, loss = time.monotonic(), 0, 0.0
    while step < steps if steps else time.monotonic() - start < seconds:
        loss += detector.learn(*batch(train, rng))
        step += 1
        if step % 500 == 0:
            click.echo(f"step {step}: loss {loss / 500:.3f}, finds {found(detector, val)} of {len(val)}")
            loss = 0.0
    click.echo(f"after {step} steps it finds {found(detector, val)} of {len(val)} lesions of val")


if __name__ == "__main__":
    main()

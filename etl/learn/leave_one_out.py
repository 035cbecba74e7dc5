"""The order that each of several trainings gives to the slices of a patient that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from etl.core.errors import ConfigError
from etl.derive.position_measures import order_accuracy, spearman
from etl.derive.slice_positions import Scale, order_of, robust_line, smoothed
from etl.learn.finish import scale_of
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import TEST, TRAIN, Series
from etl.learn.training import Training

APART_MM = 40.0
"""Order is asked of pairs of slices that are further apart than this."""


@dataclass(frozen=True)
class LeftOut:
    """One series, scored by a training without its patient.

    Attributes:
        spearman: of scores and positions.
        order_accuracy: share of pairs in the right order, of those more than 40 mm apart.
        score_per_mm: slope of the robust line through the scores.
        order: judgement of that line by the slopes of the training series.
    """

    patient: str
    series: str
    slices: int
    length_mm: float
    spearman: float
    order_accuracy: float
    score_per_mm: float
    order: str


def leave_one_out(
    config: RegressorConfig,
    series: Sequence[Series],
    device: str = "cpu",
) -> Iterator[LeftOut]:
    """Train once for each patient of `train` without this patient, and yield its series as scored then.

    Every training is continued from its last checkpoint in the config's work folder.

    Raises:
        ConfigError: one patient is not enough.
    """
    patients = sorted({one.patient for one in series if one.split == TRAIN})
    if len(patients) < 2:
        raise ConfigError(
            "without one patient there is nobody to learn from",
            where="--leave-one-out",
            value=f"patients of the train split: {', '.join(patients) or 'none'}",
            allowed="at least two",
        )
    for patient in patients:
        split = [replace(one, split=TEST) if one.patient == patient else one for one in series]
        training = Training(config, split, device)
        training.resume()
        training.run(config.steps)
        scale = scale_of(training)
        for one in split:
            if one.patient == patient:
                yield _left_out(training, one, scale)


def _left_out(training: Training, one: Series, scale: Scale) -> LeftOut:
    scores = training.score(training.cache.of(one)).astype(float)
    line, length_mm = robust_line(scores, one.mm), float(one.mm[-1] - one.mm[0])
    return LeftOut(
        one.patient,
        one.name,
        len(scores),
        round(length_mm, 1),
        round(spearman(one.mm, scores), 4),
        round(order_accuracy(one.mm, smoothed(scores, one.mm), APART_MM), 4),
        round(line.slope_per_mm if line else float("nan"), 5),
        str(order_of(line, length_mm, scale)),
    )


def table_of(rows: Sequence[LeftOut]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [list(asdict(row).values()) for row in rows]
    heads = list(LeftOut.__dataclass_fields__)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in [heads, ["---"] * len(heads), *lines])

"""The keys that the config of every training has."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from etl.core.config import public_place
from etl.core.urls import is_local


def _local_path(place: str) -> str:
    path = public_place(place)
    if not is_local(path):
        raise ValueError("only a path on this machine goes here, not a URL")
    return path


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_local_path)]
Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(gt=0)]


def _low_first(window_hu: tuple[float, float]) -> tuple[float, float]:
    if not window_hu[0] < window_hu[1]:
        raise ValueError("window_hu is [low, high], low below high")
    return window_hu


Window = Annotated[tuple[float, float], AfterValidator(_low_first)]


def check_window_shift(window_hu: tuple[float, float], shift_hu: float) -> None:
    """Raise ValueError where a shift of both ends of a window, each its own way, can turn it upside down."""
    half = (window_hu[1] - window_hu[0]) / 2
    if not shift_hu < half:
        raise ValueError(
            f"augment.window_hu is {shift_hu:g}; allowed: below {half:g}, "
            "half of the width of input.window_hu"
        )


class Section(BaseModel):
    """Keys of one part of a config; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Schedule(Section):
    """The keys of the loop of a training."""

    steps: Steps = Field(20_000, description="of training")
    rate: float = Field(1e-3, gt=0, description="learning rate at its peak")
    decay: float = Field(0.01, ge=0, description="weight decay")
    average: float = Field(0.998, ge=0, lt=1, description="of the running mean of weights that is kept")
    seed: int = Field(0, ge=0, lt=2**64, description="of every random choice")
    validate_steps: Steps = Field(500, description="steps between two looks at the val split")
    checkpoint_steps: Steps = Field(200, description="steps between two checkpoints")
    work: LocalPath = Field("build/learn", description="folder of checkpoints and curves")

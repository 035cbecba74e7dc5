"""The keys that the config of every training has, and how such a config is read: one YAML file, strict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etl.core.errors import ConfigError
from etl.core.own_configs import find_config

Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Keys of one part of a config; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Schedule(Section):
    """The keys of the loop of a training."""

    steps: Steps = Field(20_000, description="of training")
    rate: float = Field(1e-3, gt=0, description="learning rate at its peak")
    decay: float = Field(0.01, ge=0, description="weight decay")
    average: float = Field(0.998, ge=0, lt=1, description="of the running mean of weights that is kept")
    seed: int = Field(0, ge=0, description="of every random choice")
    validate_steps: Steps = Field(500, description="steps between two looks at the val split")
    checkpoint_steps: Steps = Field(200, description="steps between two checkpoints")
    work: str = Field("build/learn", description="folder of checkpoints and curves")


Config = TypeVar("Config", bound=BaseModel)


def read_training_config(
    kind: type[Config], path: str | Path, overrides: tuple[str, ...], example: str
) -> Config:
    """Return the config of a YAML file.

    Args:
        overrides: `KEY.PATH=VALUE` each; values as in YAML.
        example: a file with the keys, for messages.

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
        return kind.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise ConfigError(
            "the config is wrong", where=str(path), value=wrong, allowed=f"the keys of {example}"
        ) from error
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise ConfigError("the config can't be read", where=str(path), value=str(error)) from error

"""Validators of configs run with every pydantic that is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from etl.core.config import Config
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.regressor_config import RegressorConfig
from etl.run import cluster_kinds
from etl.store import version_file


def models_of(module: object) -> list[type[BaseModel]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind)


MODELS = [Config, RegressorConfig, EmbeddingConfig, *models_of(cluster_kinds), *models_of(version_file)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_field_has_at_most_one_validator_of_a_kind(model: type[BaseModel]) -> None:
    """With pydantic 2.11, the last of several stays alone where the field has a default of its own."""
    for name, field in fields_of(model):
        kinds = Counter(type(item) for item in field.metadata)
        assert max(kinds[AfterValidator], kinds[BeforeValidator]) <= 1, name

"""Whatever is written into a config, it is one or a ConfigError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from etl.core.config import Config
from etl.core.config_file import as_yaml
from etl.core.errors import ConfigError
from etl.core.urls import parse_place
from tests.support.configs import SMALLEST, load


def is_normal(place: str) -> bool:
    try:
        return parse_place(place) == place
    except ConfigError:
        return False


SPACINGS = st.just("native") | st.floats(0.05, 100) | st.integers(1, 100)
CONFIGS = st.fixed_dictionaries(
    {
        "store": st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))).filter(is_normal),
        "source": st.sampled_from(
            [{"annotations": "a", "images": "b"}, {"annotations": "a", "archives": ["b.zip", "*.zip"]}]
        ),
    },
    optional={
        "volume": st.fixed_dictionaries(
            {},
            optional={
                "spacing_mm": SPACINGS | st.lists(SPACINGS, min_size=3, max_size=3),
                "interpolation": st.sampled_from(["nearest", "linear", "cubic"]),
                "antialias": st.booleans(),
                "clip_hu": st.tuples(st.integers(-32768, 0), st.integers(1, 32767)).map(list),
                "chunk": st.lists(st.integers(4, 1024), min_size=3, max_size=3).filter(
                    lambda c: min(c) < 1024
                ),
                "codec": st.fixed_dictionaries({}, optional={"level": st.integers(1, 9)}),
                "pyramid_levels": st.integers(1, 8),
            },
        ),
        "select": st.fixed_dictionaries(
            {},
            optional={
                "patients": st.none() | st.lists(st.integers(0, 9999)),
                "series": st.none() | st.lists(st.from_regex(r"[0-9]{6}_[0-9]{2}_[0-9]{2}", fullmatch=True)),
                "limit": st.none() | st.integers(1, 10**6),
            },
        ),
        "limits": st.fixed_dictionaries({}, optional={"rejects": st.floats(0, 1)}),
    },
)


@given(CONFIGS)
@example({"store": "0E0", "source": {"annotations": "1e-3", "images": "1_0"}})
def test_a_resolved_config_loads_as_itself(tmp_path: Path, data: dict[str, Any]) -> None:
    config = load(tmp_path, json.dumps(data, ensure_ascii=False))
    resolved = config.resolved()
    for name, section in config:
        if isinstance(section, BaseModel):
            assert resolved[name].keys() == type(section).model_fields.keys()
    assert load(tmp_path, as_yaml(resolved)) == config
    assert load(tmp_path, json.dumps(resolved, ensure_ascii=False)).resolved() == resolved
    for key, value in data.items():
        expected = resolved[key] if isinstance(value, dict) else value
        assert resolved[key] == expected


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@given(st.sampled_from(["*a", "[*a]", "{b: *a}", "&a [*a]", "{? *a : 1}"]))
def test_aliases_are_refused(tmp_path: Path, alias: str) -> None:
    for text in (BOMB, f"volume: &a {{}}\nselect: {alias}\n"):
        with pytest.raises(ConfigError, match="aliases"):
            load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"aliases|valid YAML"):
        load(tmp_path, json.dumps(SMALLEST), f"volume={alias}")


@pytest.mark.slow
@given(st.integers(51, 5000), st.sampled_from(["[]", "{}"]))
def test_deep_nesting_is_refused(tmp_path: Path, depth: int, brackets: str) -> None:
    inner = "a: " if brackets == "{}" else ""
    text = (brackets[0] + inner) * depth + "1" + brackets[1] * depth
    with pytest.raises(ConfigError, match="levels of nesting"):
        load(tmp_path, f"volume: {text}")


KEYS = st.sampled_from(["store", "source", "volume", "select", "limits", "cluster", "annotations", "images",
                        "archives", "spacing_mm", "codec", "level", "chunk", "series", "limit"])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.text() | st.integers() | st.dates(), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES)
@example(SMALLEST)
def test_any_yaml_gives_a_config_or_a_config_error(tmp_path: Path, data: Any) -> None:
    _loads_or_config_error(tmp_path, yaml.safe_dump(data))


@given(st.text(st.sampled_from(list("ab:{}[]!&*<>-?|'\"%@`,\n 0.1_~#")), max_size=40))
def test_any_text_gives_a_config_or_a_config_error(tmp_path: Path, text: str) -> None:
    _loads_or_config_error(tmp_path, text)
    _loads_or_config_error(tmp_path, yaml.safe_dump(SMALLEST), f"volume.spacing_mm={text}", f"{text}=1")


def _loads_or_config_error(tmp_path: Path, text: str, *overrides: str) -> None:
    try:
        config = load(tmp_path, text, *overrides)
    except ConfigError:
        return
    assert config.resolved().keys() == Config.model_fields.keys()

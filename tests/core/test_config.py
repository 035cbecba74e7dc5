from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from etl.core.config import Config, File
from etl.core.config_file import load_config
from etl.core.errors import ConfigError
from etl.core.spacings import target_mm
from tests.support.configs import SMALLEST, load, with_value


def test_the_smallest_config_has_the_documented_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, yaml.safe_dump(SMALLEST)).resolved() == {
        "store": "s",
        "source": {
            "annotations": "a.csv",
            "images": "png",
            "archives": None,
            "staging": None,
            "downloads": 4,
            "keep_archives": True,
            "more": {},
            "complete": False,
            "partial": False,
        },
        "volume": {
            "spacing_mm": 1.0,
            "interpolation": "linear",
            "antialias": True,
            "clip_hu": [-1024, 3071],
            "chunk": [64, 64, 64],
            "codec": {"name": "zstd", "level": 1, "shuffle": "bitshuffle"},
            "pyramid_levels": 1,
        },
        "select": {"patients": None, "series": None, "splits": None, "limit": None},
        "limits": {
            "rejects": 0.01,
            "lost_archives": 0,
            "location_disagreement": 0.05,
            "worker_deaths": 3,
            "volume_timeout_s": 1800.0,
            "wait_for_workers_s": 3600.0,
            "allow_fewer_volumes": False,
            "allow_fewer_lesions": False,
            "allow_schema_change": False,
        },
        "report": True,
        "cluster": "local",
        "overlap": "beside",
    }


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        # a key that isn't one: what is allowed there, and what was meant
        ("sotre", "x", ["`sotre` is not a key", "did you mean `store`", "source, volume, select"]),
        (
            "volume.spacing",
            1,
            ["`volume.spacing`", "did you mean `spacing_mm`", "pyramid_levels"],
        ),
        ("volume.codec.nam", "zstd", ["`volume.codec.nam`", "did you mean `name`", "name, level, shuffle"]),
        ("select.patient", [1], ["`select.patient`", "did you mean `patients`"]),
        ("limits.reject", 0, ["`limits.reject`", "did you mean `rejects`"]),
        ("source.downloads_at_once", 4, ["`source.downloads_at_once` is not a key", "annotations, images"]),
        ("literal", 1, ["`literal` is not a key"]),
        ("floating", 1, ["`floating` is not a key"]),
        ("", 1, ["`` is not a key"]),
        # a value of the wrong type
        ("store", 5, ["`store` = 5", "string"]),
        ("store", "", ['`store` = ""', "at least 1"]),
        ("volume", 3, ["`volume` = 3", "not a section", "spacing_mm"]),
        ("volume", None, ["`volume` = null", "not a section"]),
        ("volume.codec", "zstd", ['`volume.codec` = "zstd"', "not a section", "name, level, shuffle"]),
        ("volume.antialias", 1, ["`volume.antialias` = 1", "boolean"]),
        ("volume.antialias", "yes", ['`volume.antialias` = "yes"', "boolean"]),
        ("volume.pyramid_levels", "2", ['`volume.pyramid_levels` = "2"', "integer"]),
        ("volume.pyramid_levels", 2.0, ["`volume.pyramid_levels` = 2.0", "integer"]),
        ("volume.clip_hu", [-1024, 0.5], ["`volume.clip_hu.1` = 0.5", "integer"]),
        ("volume.clip_hu", [-1024], ["`volume.clip_hu.1`", "required"]),
        ("volume.clip_hu", [1, 2, 3], ["`volume.clip_hu` = [1, 2, 3]", "at most 2"]),
        ("volume.chunk", 64, ["`volume.chunk` = 64"]),
        ("select.patients", 3, ["`select.patients` = 3"]),
        ("select.patients", ["a"], ['`select.patients.0` = "a"', "integer"]),
        ("select.splits", "val", ['`select.splits` = "val"']),
        ("source.archives", "one.zip", ['`source.archives` = "one.zip"']),
        ("limits.allow_fewer_lesions", 1, ["`limits.allow_fewer_lesions` = 1", "boolean"]),
        # a value that is not allowed
        ("volume.spacing_mm", 0, ["`volume.spacing_mm` = 0", "0.05 to 100", "native"]),
        ("volume.spacing_mm", 100.5, ["`volume.spacing_mm` = 100.5", "0.05 to 100"]),
        ("volume.spacing_mm", True, ["`volume.spacing_mm` = true", "0.05 to 100"]),
        ("volume.spacing_mm", float("nan"), ["`volume.spacing_mm` = NaN", "0.05 to 100"]),
        ("volume.spacing_mm", "nativ", ['`volume.spacing_mm` = "nativ"', "`native`"]),
        ("volume.spacing_mm", [1, 1], ["`volume.spacing_mm` = [1, 1]", "0.05 to 100", "(z, y, x)"]),
        ("volume.spacing_mm", [1, 1, 0], ["`volume.spacing_mm` = [1, 1, 0]", "0.05 to 100"]),
        (
            "volume.spacing_mm",
            [2, "nativ", 1],
            ['`volume.spacing_mm` = [2, "nativ", 1]', "[2, native, native]"],
        ),
        ("volume.interpolation", "lanczos", ['`volume.interpolation` = "lanczos"', "nearest", "cubic"]),
        ("volume.clip_hu", [5, 5], ["`volume`", "clip_hu", "low < high", "[5, 5]"]),
        ("volume.clip_hu", [-40000, 0], ["clip_hu", "-32768", "[-40000, 0]"]),
        ("volume.chunk", [64, 3, 64], ["chunk", "4 to 1024", "[64, 3, 64]"]),
        ("volume.chunk", [1024, 1024, 1024], ["chunk", "not all are 1024"]),
        ("volume.codec.name", "gzip", ['`volume.codec.name` = "gzip"', "zstd", "lz4hc"]),
        ("volume.codec.level", 10, ["`volume.codec.level` = 10", "9"]),
        ("volume.pyramid_levels", 0, ["`volume.pyramid_levels` = 0", "1"]),
        ("select.limit", 0, ["`select.limit` = 0", "1"]),
        ("select.series", ["1_01_01"], ['`select.series.0` = "1_01_01"', "[0-9]{6}_[0-9]{2}_[0-9]{2}"]),
        ("select.splits", ["training"], ['`select.splits.0` = "training"', "'train', 'val' or 'test'"]),
        ("limits.rejects", 1.5, ["`limits.rejects` = 1.5", "1"]),
        ("limits.lost_archives", -1, ["`limits.lost_archives` = -1", "0"]),
        ("limits.rejects", -0.1, ["`limits.rejects` = -0.1", "0"]),
        ("cluster", "", ['`cluster` = ""', "at least 1"]),
        ("source.images", None, ["`source`", "`images`", "`archives`", "one of the two"]),
        ("source.archives", ["a.zip"], ["`source`", "`images`", "`archives`", "one of the two"]),
        ("source.archives", [], ["`source.archives` = []", "at least 1"]),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    tmp_path: Path, key: str, value: Any, named: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, with_value(key, value))
    message = str(caught.value)
    assert [part for part in named if part not in message] == []
    assert str(tmp_path / "config.yaml") in message
    assert caught.value.exit_code == 2


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "volume: {spacing_mm: -1, codec: {level: 0}}\nselect: {limit: no}\n")
    for key in ("`store` is required", "`source` is required", "volume.spacing_mm", "codec.level", "limit"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not a mapping"),
        ("- store", "not a mapping"),
        ("store: [", "not valid YAML"),
        ("store: a\nstore: b", "'store' is given twice"),
        ("volume: {antialias: true, chunk: [8, 8, 8], antialias: false}", "'antialias' is given twice"),
        ("store: !!float ''", "not valid YAML"),
        ("store: !!timestamp x", "not valid YAML"),
        ("store: !!bool x", "not valid YAML"),
        ("store: !!python/object:os.system x", "not valid YAML"),
        ("[1]: x", "not valid YAML"),
        ("store: &a [*a]", "aliases"),
        ("store: !!binary aGk=", "plain values"),
        ("store: !!set {a}", "plain values"),
        ('store: "\\ud800"', "plain values"),
        (f"store: {'9' * 5000}", "not valid YAML"),
        ("[" * 3000, "not valid YAML"),
    ],
)
def test_what_is_no_config_is_a_config_error(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, text)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00store"])
def test_an_unreadable_file_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="can't be read") as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "series", "rejects"),
    [
        ("select: {series: [000001_01_01, 000009_01_02]}", ("000001_01_01", "000009_01_02"), 0.01),
        ("limits: {rejects: 1e-3}", None, 0.001),
        ("limits: {rejects: .5}", None, 0.5),
        ("limits: {rejects: 0}", None, 0.0),
    ],
)
def test_plain_text_and_numbers_are_what_they_look_like(
    tmp_path: Path, text: str, series: tuple[str, ...] | None, rejects: float
) -> None:
    config = load(tmp_path, yaml.safe_dump(SMALLEST) + text)
    assert (config.select.series, config.limits.rejects) == (series, rejects)


def test_numbers_with_leading_zeros_are_decimal(tmp_path: Path) -> None:
    config = load(tmp_path, yaml.safe_dump(SMALLEST) + "select: {patients: [0010, 000008]}")
    assert config.select.patients == (10, 8)


@pytest.mark.parametrize(
    ("given", "kept", "target"),
    [
        (2, 2.0, (2.0, 2.0, 2.0)),
        ("native", "native", (5.0, 0.7, 0.6)),
        ([2, 0.8, 0.8], [2.0, 0.8, 0.8], (2.0, 0.8, 0.8)),
        ([2, "native", "native"], [2.0, "native", "native"], (2.0, 0.7, 0.6)),
        # Three equal ones are one: the same volumes, by the same fingerprint.
        ([1, 1, 1], 1.0, (1.0, 1.0, 1.0)),
        ([1, 1.0, 1], 1.0, (1.0, 1.0, 1.0)),
        (["native"] * 3, "native", (5.0, 0.7, 0.6)),
    ],
)
def test_a_spacing_is_for_all_axes_or_for_each(
    tmp_path: Path, given: Any, kept: Any, target: tuple[float, float, float]
) -> None:
    config = load(tmp_path, with_value("volume.spacing_mm", given))
    assert config.resolved()["volume"]["spacing_mm"] == kept
    assert target_mm(config.volume.spacing_mm, (5.0, 0.7, 0.6)) == target
    again = Config.model_validate_json(config.model_dump_json())
    assert again == config


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert field.annotation.__doc__
            yield from sections(field.annotation, f"{path}{name}.")


def test_every_key_says_what_it_is() -> None:
    fields = dict(sections(Config))
    assert {"volume.codec.level", "limits.allow_schema_change", "source.complete"} <= fields.keys()
    assert [key for key, field in fields.items() if not field.description] == []


def test_a_config_is_frozen(tmp_path: Path) -> None:
    config = load(tmp_path, yaml.safe_dump(SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        config.volume.antialias = False  # type: ignore[misc]


def test_what_is_kept_of_a_config_holds_no_secret(tmp_path: Path) -> None:
    signed = "https://user:word@host/zips/a.zip?X-Amz-Signature=0123&id=7"
    named = {"DEEPLESION__SOURCE__ARCHIVES": f"['{signed}']", "DEEPLESION__SOURCE__IMAGES": "null"}
    config = load(tmp_path, yaml.safe_dump(SMALLEST), **named)
    assert config.source.archives == (File(url=signed),)
    assert config.resolved()["source"]["archives"] == ["https://host/zips/a.zip"]

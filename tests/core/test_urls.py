"""One parser reads places in configs, on command lines, in the environment and in the reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config_file import load_config
from etl.core.errors import ConfigError
from etl.core.urls import parse_folder, parse_place
from etl.io.opening import open_objects, open_staging

PARTS = st.lists(st.text("abcXYZ019._-", min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("BUCKET", "lab")
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("build/store", "build/store"),
        ("~/store", "/home/me/store"),
        ("~", "/home/me"),
        ("a~b", "a~b"),
        ("$SCRATCH/store", "/scratch/me/store"),
        ("${SCRATCH}_2/store", "/scratch/me_2/store"),
        ("store/$BUCKET.1", "store/lab.1"),
        (Path("/data/x"), "/data/x"),
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("FILE://localhost/data/x", "/data/x"),
        ("file:///$BUCKET/x", "/lab/x"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("S3://bucket/X", "s3://bucket/X"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("S3N://bucket/x", "s3://bucket/x"),
        ("s3:/bucket/x", "s3://bucket/x"),
        (Path("s3://bucket/x"), "s3://bucket/x"),
        ("s3://bkt//x///y/", "s3://bkt/x/y"),
        ("s3:///bucket/x", "s3://bucket/x"),
        ("s3://$BUCKET/x", "s3://lab/x"),
        ("s3://bucket/Images_png_*.zip", "s3://bucket/Images_png_*.zip"),
        ("HTTPS://Host/a//b.zip?sig=$x", "https://Host/a//b.zip?sig=$x"),
        ("gs://bucket/a.zip", "gs://bucket/a.zip"),
        ("memory://a.zip", "memory://a.zip"),
        ("official", "official"),
        ("./s3:/x", "./s3:/x"),
        ("C:/data", "C:/data"),
        ("name:with:colons", "name:with:colons"),
    ],
)
def test_a_place_has_one_normal_form(written: str | Path, normal: str) -> None:
    assert parse_place(written) == normal
    assert parse_place(normal) == normal


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("$NOWHERE/store", "NOWHERE is not set"),
        ("s3://${NOWHERE}/x", "NOWHERE is not set"),
        ("s3://", "no bucket"),
        ("s3:////", "no bucket"),
        ("s3:bucket/x", "slash missing"),
        ("gs:/bucket/x", "slash missing"),
        ("http:/host/a.zip", "slash missing"),
        ("https:host/a.zip", "slash missing"),
    ],
)
def test_text_that_is_no_place_is_refused(written: str, message: str, tmp_path: Path) -> None:
    for read in (parse_place, open_objects, open_staging, lambda text: parse_folder(text, "OUT")):
        with pytest.raises(ConfigError, match=message):
            read(written)
    path = tmp_path / "config.yaml"
    source = {"annotations": "DL_info.csv", "images": "Images_png"}
    path.write_text(json.dumps({"store": "store", "source": source}))
    for key in ("store", "source.annotations", "source.images", "source.staging"):
        with pytest.raises(ConfigError):
            load_config(path, overrides=[f"{key}={json.dumps(written)}"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize("url", ["s3://b/x", "s3:/b/x", "s3a://b/x", "gs://b/x", "https://me:word@host/x"])
def test_a_url_is_refused_where_only_a_folder_goes(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only a folder goes here") as caught:
        parse_folder(url, "OUT")
    assert "word" not in str(caught.value)
    assert parse_folder("~/out", "OUT") == Path("/home/me/out")
    assert parse_folder("out", "OUT") == tmp_path / "out"


def test_config_environment_and_command_line_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    source = {"annotations": "~/DL_info.csv", "archives": ["S3://b//a.zip", "official", "$SCRATCH/*.zip"]}
    path.write_text(json.dumps({"store": "$SCRATCH/store", "source": source}))
    config = load_config(path)
    assert (config.store, config.source.annotations.url) == ("/scratch/me/store", "/home/me/DL_info.csv")
    urls = [file.url for file in config.source.archives or ()]
    assert urls == ["s3://b/a.zip", "official", "/scratch/me/*.zip"]
    assert load_config(path, overrides=["store=s3a://b/x/"]).store == "s3://b/x"
    assert load_config(path, environment={"DEEPLESION__STORE": "s3:/b/x"}).store == "s3://b/x"


def test_images_are_a_folder_a_glob_or_a_list_of_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"store": "s", "source": {"annotations": "a.csv", "images": "~/Images_png"}}))
    config = load_config(path)
    assert config.source.images == config.resolved()["source"]["images"] == "/home/me/Images_png"
    config = load_config(path, overrides=['source.images=["$SCRATCH/a", "b/Images_png*"]'])
    assert config.source.images == ("/scratch/me/a", "b/Images_png*")
    assert config.resolved()["source"]["images"] == ["/scratch/me/a", "b/Images_png*"]
    for wrong in ("[]", "7", "{a: b}", "[1]", "s3://b/x", "[a, 's3:/b/x']", "https://me:pa55@host/a"):
        with pytest.raises(ConfigError, match=r"source\.images") as caught:
            load_config(path, overrides=[f"source.images={wrong}"])
        assert "pa55" not in str(caught.value)


@given(PARTS, PARTS)
def test_however_an_s3_url_is_written_it_is_one_place(parts: list[str], slashes: list[str]) -> None:
    plain = f"s3://{'/'.join(parts)}"
    for scheme in ("S3://", "s3a://", "s3n:/", "s3:/"):
        gaps = ["/" * len(slashes), "/"] * len(parts)
        written = scheme + "".join(part + gap for part, gap in zip(parts, gaps, strict=False))
        assert parse_place(written) == plain
    assert open_objects(plain).root == plain

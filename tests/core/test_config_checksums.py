"""A checksum in a config is looked at, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl.core.config_file import load_config
from etl.core.errors import ConfigError

SHA256 = "a" * 64


@pytest.mark.parametrize(
    ("url", "staging"),
    [
        ("/data/Images_png_01.zip", None),
        ("/data/Images_png_01.zip", "/shared/zips"),
        ("file:///data/Images_png_01.zip", "/shared/zips"),
        ("https://host/Images_png_01.zip", None),
        ("s3://bucket/Images_png_01.zip", None),
        ("official", "/shared/zips"),
    ],
)
def test_a_checksum_that_nobody_would_look_at_is_refused(
    tmp_path: Path, url: str, staging: str | None
) -> None:
    source = {"annotations": "DL_info.csv", "archives": [{"url": url, "sha256": SHA256}], "staging": staging}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"store": "store", "source": source}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for words in (
        "`source`",
        f"sha256 of {url.removeprefix('file://')}",
        "CRC-32 of each slice",
        "allowed",
        "leave sha256 out",
    ):
        assert words in str(caught.value)


def test_a_checksum_of_what_is_staged_is_taken(tmp_path: Path) -> None:
    archives = [{"url": "https://host/Images_png_01.zip", "sha256": SHA256}, "official", "/data/b.zip"]
    source = {"annotations": "DL_info.csv", "archives": archives, "staging": "/shared/zips"}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"store": "store", "source": source}))
    found = load_config(path).source.archives
    assert found is not None
    assert [file.sha256 for file in found] == [SHA256, None, None]

"""Secrets reach no log, no version, no message: refused where others can read them, and shown nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config import Config
from etl.core.config_file import SECRET_KEY, load_config
from etl.core.errors import ConfigError, StoreError
from etl.core.secrets import credential_in, without_credentials
from etl.io.opening import open_objects
from tests.core.test_config import sections
from tests.support.processes import BUILD_STORE, DASK_SUBMIT, dask_scheduler, environment, run
from tests.support.servers import HttpServer
from tests.support.stored import files_below
from tests.support.tiny_release import csv_row, write_release

SECRET = "hunter2sEcReT"
WITH_SECRET = [
    f"https://user:{SECRET}@host/zips/*.zip",
    f"https://{SECRET}@host/a.zip",
    f"s3://AKIA:{SECRET}@bucket/a.zip",
    f"sftp://user:{SECRET}@host/a.zip",
    f"https://user:{SECRET}/more@host/a.zip",
    f"https://user:{SECRET}@more@host/a.zip",
    f"simplecache::https://user:{SECRET}@host/a.zip",
    f"https://host/a.zip?X-Amz-Algorithm=A&X-Amz-Signature={SECRET}",
    f"https://host/a.zip?X-Amz-Credential={SECRET}",
    f"https://host/a.zip?x-amz-security-token={SECRET}&id=7",
    f"https://host/a.zip?x-goog-signature={SECRET}",
    f"https://host/a.zip?sv=2020&sig={SECRET}",
    f"https://host/a.zip?access_token={SECRET}",
    f"https://host/a.zip?token={SECRET}#part",
    f"https://host/a.zip?Signature={SECRET}&Key-Pair-Id=1",
    f"https://host/a.zip?apikey={SECRET}",
    f"https://host/a.zip?key={SECRET}",
]
WITHOUT = [
    "/data/Images_png_*.zip",
    "/data/a@b:c/x.zip",
    "https://host:8443/a@b/Images_png_01.zip?id=7&v=1",
    "http://[::1]:8080/a.zip",
    "s3://bucket/prefix/a@b.zip",
    "abfs://container@account.dfs.core.windows.net/a.zip",
    "sftp://user@host/a.zip",
    "https://host/a.zip?monkey=1&design=2",
    "user:password@host",
]


@pytest.mark.parametrize("url", WITH_SECRET)
def test_a_credential_is_found_and_left_out(url: str) -> None:
    assert credential_in(url)
    assert credential_in(f"see {url} there")
    assert SECRET not in credential_in(url)
    assert SECRET not in without_credentials(json.dumps({"a": [url, 1]}))
    assert credential_in(without_credentials(url).replace("...@", "").replace("=...", "")) == ""


@pytest.mark.parametrize("url", WITHOUT)
def test_a_place_without_a_credential_is_left_alone(url: str) -> None:
    assert credential_in(url) == ""
    assert without_credentials(url) == url


@given(st.text())
def test_any_text_has_words_for_messages(text: str) -> None:
    assert isinstance(credential_in(text), str)
    assert without_credentials(text) == text or credential_in(text) or "=" in text


def data(**source: Any) -> dict[str, Any]:
    return {"store": "s", "source": {"annotations": "a.csv", "archives": ["a.zip"]} | source}


def refused(folder: Path, content: dict[str, Any], *overrides: str, **variables: str) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides=overrides, environment=variables)
    said, error = str(caught.value), caught.value
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__  # type: ignore[assignment]
        said += str(error)
    assert SECRET not in said
    return said


@pytest.mark.parametrize("url", WITH_SECRET)
@pytest.mark.parametrize(
    "place",
    [
        lambda url: data(archives=[url]),
        lambda url: data(archives=["a.zip", {"url": url, "sha256": "0" * 64}]),
        lambda url: data(annotations=url),
        lambda url: data(staging=url),
        lambda url: data() | {"store": url},
        lambda url: data() | {"volume": url},
        lambda url: data() | {url: 1},
        lambda url: data() | {"select": {"series": [url]}},
    ],
    ids=["archives", "with a digest", "annotations", "staging", "store", "no section", "a key", "select"],
)
def test_the_file_holds_none(tmp_path: Path, url: str, place: Any) -> None:
    said = refused(tmp_path, place(url))
    assert "credentials don't belong" in said
    assert "AWS_PROFILE" in said
    assert ".netrc" in said


@pytest.mark.parametrize("key", ["key", "secret", "aws_secret_access_key", "accessKey", "token", "password"])
def test_the_file_has_no_key_for_one(tmp_path: Path, key: str) -> None:
    for content in (
        data() | {key: SECRET},
        data(**{key: SECRET}),
        data() | {"storage": {key: {"a": SECRET}}},
    ):
        assert "AWS_ACCESS_KEY_ID" in refused(tmp_path, content)
    assert "AWS_PROFILE" in refused(tmp_path, data(), f"source.{key}={SECRET}")
    assert "is not a key" in refused(tmp_path, data(), **{f"DEEPLESION__SOURCE__{key}": SECRET})


def test_no_key_of_the_config_is_named_like_one() -> None:
    assert [name for name, _ in sections(Config) if SECRET_KEY.search(name.rpartition(".")[2])] == []


def test_the_command_line_holds_none(tmp_path: Path) -> None:
    for url in WITH_SECRET:
        for override in (f"source.archives=['{url}']", f"store={url}", f"store.x={url}"):
            assert "credentials don't belong" in refused(tmp_path, data(), override)
        refused(tmp_path, data(), f"{url}=1")
        if "=" not in url:
            assert "key.path=value" in refused(tmp_path, data(), url)


def test_the_environment_may_name_signed_archives_and_they_are_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data()))
    for url in WITH_SECRET:
        named = {"DEEPLESION__SOURCE__ARCHIVES": f"['{url}']"}
        config = load_config(path, environment=named)
        assert config.source.archives is not None
        assert config.source.archives[0].url == url
        assert SECRET not in json.dumps(config.resolved())
        assert SECRET not in repr(config)
        # Wrong in another way: the message shows the value, less its secret.
        refused(tmp_path, data(), **named, DEEPLESION__SOURCE__ARCHIVES__X="1")
        refused(tmp_path, data(), DEEPLESION__SOURCE__ARCHIVES=url)
        refused(tmp_path, data(), DEEPLESION__VOLUME=url)
        refused(tmp_path, data(), DEEPLESION__VOLUME=f"['{url}'")
        refused(tmp_path, data(), DEEPLESION__VOLUME__SPACING_MM=url)
        # Versions keep these as they are.
        assert "AWS_PROFILE" in refused(tmp_path, data(), DEEPLESION__STORE=url)
        assert "AWS_PROFILE" in refused(tmp_path, data(), DEEPLESION__SOURCE__STAGING=url)


def test_no_store_is_opened_by_a_url_with_one() -> None:
    for url in (f"s3://AKIA:{SECRET}@bucket/store", f"ftp://user:{SECRET}@host/store"):
        with pytest.raises(StoreError, match="AWS_PROFILE") as caught:
            open_objects(url)
        assert SECRET not in str(caught.value)


@pytest.mark.campaign
def test_a_whole_run_with_signed_archives_shows_no_secret(tmp_path: Path, http_server: HttpServer) -> None:
    """Built, failed on a worker, planned, refused: what jobs and cluster say, and every file of the store."""
    write_release(tmp_path / "release", {"000001_01_01": [3, 4, 5]}, [csv_row("000001_01_01", 4, (3, 5))])
    url = http_server.put("/a.zip", (tmp_path / "release" / "Images_png_01.zip").read_bytes())
    signed = f"{url}?X-Amz-Signature={SECRET}"
    content = {
        "store": str(tmp_path / "store"),
        "source": {"annotations": str(tmp_path / "release/DL_info.csv"), "archives": [url]},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    secret = {"DEEPLESION__SOURCE__ARCHIVES": f"['{signed}']"}
    (tmp_path / "dask").mkdir()
    said = []
    with dask_scheduler(tmp_path / "dask") as (address, _):
        job = [*DASK_SUBMIT, "--scheduler", address, BUILD_STORE[1], str(config)]
        done = run(job, env=environment(**secret))
        assert done.returncode == 0, done.stderr
        said.append(done)
        # Every write of a volume fails in the worker, which logs the task with its arguments.
        (tmp_path / "store" / "volumes" / "000001_01_01_003-005").rename(tmp_path / "elsewhere")
        (tmp_path / "store" / "volumes" / "000001_01_01_003-005").write_bytes(b"in the way")
        done = run(job, env=environment(**secret))
        assert done.returncode == 4, done.stderr
        said.append(done)
    logs = [(tmp_path / "dask" / name).read_text() for name in ("worker.log", "scheduler.log")]
    assert "Compute Failed" in logs[0]
    for wrong in ([], ["--set", f"store={signed}"], ["--plan"]):
        said.append(run([*BUILD_STORE, str(config), *wrong], env=environment(**secret)))
    for done in said:
        assert SECRET not in done.stdout + done.stderr
    assert not [log for log in logs if SECRET in log]
    store = files_below(tmp_path / "store")
    assert "versions/000001.json" in store
    assert [name for name, content in store.items() if SECRET.encode() in content] == []


def test_a_user_and_password_come_from_netrc(
    http_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etl.io.http import HttpBlob
    from etl.io.logins import login
    from etl.io.places import BlobRefused

    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    assert login("https://host/a.zip") == ""
    file.write_text(f"machine host login me password {SECRET}\ndefault login you password {SECRET}\n")
    file.chmod(0o644)
    assert login("https://other/a.zip") == ""
    with pytest.raises(BlobRefused, match=r"others may read it \(mode 0644\); remedy: chmod 600") as caught:
        HttpBlob("https://host/a.zip").info()
    assert SECRET not in str(caught.value)
    file.chmod(0o600)
    assert login("https://host/a.zip") == f"me:{SECRET}"
    assert login("https://host:8443/a.zip?id=1") == f"me:{SECRET}"
    assert login("https://other/a.zip") == ""
    assert login("https://host/a.zip?sig=1") == ""
    assert login("https://a:b%40@host/a.zip") == "a:b@"
    file.write_text(f"machine host {SECRET}")
    with pytest.raises(BlobRefused, match="netrc") as caught:
        HttpBlob("https://host/a.zip").info()
    assert SECRET not in str(caught.value)

    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    os.chmod(tmp_path / ".netrc", 0o600)
    url = http_server.put("/a.zip", b"0123456789")
    assert HttpBlob(url).read(2, 5) == b"234"
    assert http_server.requests[-1].headers["Authorization"].startswith("Basic ")

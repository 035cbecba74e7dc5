"""A marker in every place where a secret can enter, and every output of a job searched for it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pandas
import pytest
import yaml

from etl.core.errors import RunError
from etl.core.rejects import Kind, Reason, Reject
from etl.core.secrets import known_secrets, without_secrets, without_secrets_in_urls
from etl.pipeline.run_record import recorded
from etl.run.logs import leave_secrets_out
from etl.run.protocol import ExecutionStats
from etl.store import open_store
from tests.support.jobs import call_job
from tests.support.planted_secrets import MARK, PLACES, PLAIN, Place, Planted, with_user
from tests.support.processes import DASK_SUBMIT, ROOT, environment, run
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer
from tests.support.stored import files_below
from tests.support.tiny_release import csv_row, write_release


@pytest.fixture
def place(tmp_path: Path, http_server: HttpServer, s3_bucket: Bucket, impatient: None) -> Place:
    write_release(tmp_path / "release", {"000001_01_01": [3, 4, 5]}, [csv_row("000001_01_01", 4, (3, 5))])
    return Place(tmp_path, http_server, s3_bucket, (tmp_path / "release" / "Images_png_01.zip").read_bytes())


def said_by_all(place: Place, planted: Planted, *, every: bool = False) -> dict[str, str]:
    """Return the outputs of a build and, where `every`, of each command that shows what it read or wrote."""
    store = place.folder / "store"
    config, cluster = place.folder / "config.yaml", place.folder / "cluster.yaml"
    content = {
        "store": str(store),
        "source": {"annotations": str(place.folder / "release/DL_info.csv"), "archives": ["a.zip"]},
        "cluster": str(cluster),
        "report": every,
    }
    config.write_text(yaml.safe_dump(content))
    cluster.write_text(planted.cluster)
    variables = {"DEEPLESION__SOURCE__ARCHIVES": json.dumps([planted.archive])} | planted.variables
    said: dict[str, str] = {}

    def call(command: str, *arguments: str, code: int | None = 0) -> None:
        done = call_job(command, *arguments, code=code, **variables)
        said[" ".join((command, *arguments[-1:]))] = done.stdout + done.stderr

    call("build_store", str(config), *planted.arguments, code=planted.code)
    if every:
        call("build_store", str(config), *planted.arguments, "--show-config", code=None)
        call("build_store", str(config), *planted.arguments, "--plan", code=None)
    if every and planted.code == 0:
        call("store_versions", str(store), "list", "--json")
        call("store_versions", str(store), "show", "1")
        call("verify_store", str(store))
        call("export", str(store), str(place.folder / "csv"), "--format", "csv")
        said |= {f"csv/{n}": data.decode("latin-1") for n, data in files_below(place.folder / "csv").items()}
    if store.exists():
        said |= {name: content.decode("latin-1") for name, content in files_below(store).items()}
        # Pages of Parquet are compressed.
        rows = {path.name: pandas.read_parquet(path).to_csv() for path in store.rglob("*.parquet")}
        said |= {f"rows of {name}": text for name, text in rows.items()}
    return said


def showing(said: dict[str, str]) -> list[str]:
    return [name for name, text in said.items() if MARK in text or PLAIN in text]


@pytest.mark.parametrize("where", PLACES)
def test_no_output_shows_it(place: Place, where: str) -> None:
    planted = PLACES[where](place)
    said = said_by_all(place, planted)
    assert showing(said) == []
    assert planted.code != 0 or "versions/000001.json" in said


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["v", "token"])
def test_annotations_by_others_show_none(place: Place, parameter: str) -> None:
    """Their place stands in a file, and what they say is published with its name."""
    said = said_by_all(place, Planted(place.good, 0))
    more = {"kind": "dl_info_like", "file": f"{place.csv}?{parameter}={PLAIN}"}
    source = {"annotations": str(place.folder / "release/DL_info.csv"), "more": {"others": more}}
    place.folder.joinpath("more.yaml").write_text(yaml.safe_dump({"source": source}))
    store, config = str(place.folder / "store"), str(place.folder / "more.yaml")
    done = call_job("add_annotations", store, config)
    text = done.stdout + done.stderr + "".join(open_store(store).table("annotation_sources").to_csv())
    stored = {name: data.decode("latin-1") for name, data in files_below(place.folder / "store").items()}
    assert showing(said | stored | {"said": text}) == []


def unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the filter away from all that uses it."""
    names = ("without_secrets", "without_secrets_in_urls", "without_known", "without_credentials")
    for module in [module for name, module in sys.modules.items() if name.startswith("etl.")]:
        for name in names:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda text: text)


SHOWN_WITHOUT_THE_FILTER = (
    "password, refused",
    "unknown parameter, gone",
    "user of a bucket",
    "store",
    "command line, another config",
)
"""Places whose secret a library or a server repeats; of the others none comes so far."""


@pytest.mark.parametrize("where", SHOWN_WITHOUT_THE_FILTER)
def test_the_marker_is_seen_without_the_filter(
    place: Place, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the tests above would fail if the filter were gone."""
    planted = PLACES[where](place)
    unfiltered(monkeypatch)
    assert showing(said_by_all(place, planted)) != []


@pytest.mark.campaign
@pytest.mark.parametrize("where", PLACES)
def test_no_output_of_any_command_shows_it(place: Place, where: str) -> None:
    planted = PLACES[where](place)
    said = said_by_all(place, planted, every=True)
    assert showing(said) == []
    if planted.code == 0:
        kinds = {name.rpartition(".")[2] for name in said}
        assert kinds >= {"html", "csv", "json", "parquet"}


@pytest.mark.parametrize("secret", [MARK, PLAIN])
def test_every_kind_of_output_is_filtered(
    secret: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Known by its value alone: no URL around it says that it is one."""
    monkeypatch.setenv("SOME_SERVICE_TOKEN", secret)
    monkeypatch.setattr("logging._logRecordFactory", logging.getLogRecordFactory())
    leave_secrets_out.__wrapped__()
    error = RunError(f"a {secret}", where=secret, value=[secret], allowed=secret, remedy=f"{secret}.")
    reject = Reject(Kind.ARCHIVE, Reason.ARCHIVE_UNAVAILABLE, "a.zip", f"it said {secret}")
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("a.library").exception("failed for %s", secret)
    page = f'<script>let a=b?c=d:e;key=f</script>{secret}<a href="https://x:{secret}@h/">'
    said = [str(error), str(error.value), reject.message, caplog.text, without_secrets_in_urls(page)]
    assert [text for text in said[:1] + said[2:] if secret in text] == []
    assert "failed for ..." in caplog.text
    assert "let a=b?c=d:e;key=f" in said[-1]


def test_a_record_of_a_run_is_filtered(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    from etl.core.config import Config
    from etl.io.opening import open_objects

    monkeypatch.setenv("A_PASSWORD", PLAIN)
    objects = open_objects(str(place.folder / "store"))
    source = {"annotations": "a.csv", "images": "b"}
    config = Config.model_validate_json(json.dumps({"store": objects.root, "source": source}))

    def fail() -> None:
        with recorded(objects, config, "run", 1, ExecutionStats()) as record:
            record.keep_report(f"<html>{PLAIN}</html>".encode())
            raise ZeroDivisionError(f"{PLAIN} https://host/a?b={MARK}")

    with pytest.raises(ZeroDivisionError):
        fail()
    found = {name: content.decode() for name, content in files_below(Path(objects.root)).items()}
    assert set(found) == {"runs/run.json", "runs/run.html"}
    assert [name for name, text in found.items() if PLAIN in text or MARK in text] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing", "nothing"),
        ("is it? yes = no", "is it? yes = no"),
        ("GET /a/b?c=d HTTP/1.1", "GET /a/b?... HTTP/1.1"),
        ("see https://h/a.zip?id=7&v=1, or not", "see https://h/a.zip?... or not"),
        ('"KEY:SEC/RET+x@bucket/a": wrong', '"...@bucket/a": wrong'),
        ("tcp://127.0.0.1:8786 and me@host", "tcp://127.0.0.1:8786 and me@host"),
        ("a@b:c/d", "a@b:c/d"),
        ("<Task at /a/b.py:12>", "<Task at /a/b.py:12>"),
    ],
)
def test_what_is_left_out_of_a_message(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_values_of_the_environment_are_secret_by_their_names() -> None:
    secret = {
        "AWS_SECRET_ACCESS_KEY": "a" * 40,
        "GH_TOKEN": "b" * 10,
        "DB_PASSWORD": "c" * 8,
        "https_proxy": "http://me:dddddddd@proxy:1",
        "DEEPLESION__SOURCE__ARCHIVES": "['https://h/a?sig=eeeeeeee']",
        "HTTP_PROXY": "me:ffffffff@proxy:1",
        "A_URL": "https://me:gg%2Fggggg%2B@h/",
    }
    other = {"HOME": "/home/somebody", "AWS_WEB_IDENTITY_TOKEN_FILE": "/a/b/token", "A_TOKEN": "true"}
    assert set(known_secrets(secret | other)) >= {
        "a" * 40,
        "b" * 10,
        "c" * 8,
        "d" * 8,
        "e" * 8,
        "f" * 8,
        "gg%2Fggggg%2B",
        "gg/ggggg+",
    }
    assert not {*other.values()} & set(known_secrets(secret | other))


@pytest.mark.campaign
def test_a_cluster_and_its_performance_report_show_none(tmp_path: Path, http_server: HttpServer) -> None:
    write_release(tmp_path / "release", {"000001_01_01": [3, 4, 5]}, [csv_row("000001_01_01", 4, (3, 5))])
    url = http_server.put("/a.zip", (tmp_path / "release" / "Images_png_01.zip").read_bytes())
    content = {
        "store": str(tmp_path / "store"),
        "source": {"annotations": str(tmp_path / "release/DL_info.csv"), "archives": [url]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    secret = {"DEEPLESION__SOURCE__ARCHIVES": json.dumps([f"{with_user(url)}?sig={PLAIN}"])}
    script = [str(ROOT / "jobs" / "build_store.py"), str(tmp_path / "config.yaml")]
    for command in ([sys.executable, *script], [*DASK_SUBMIT, "--workers", "1", *script]):
        done = run(command, env=environment(**secret))
        assert done.returncode == 0, done.stderr
        assert PLAIN not in done.stdout + done.stderr
    assert [n for n, data in files_below(tmp_path / "store").items() if PLAIN.encode() in data] == []

"""A marker in every place where a secret can enter, and every output of a job searched for it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
from tests.support.http_faults import Answer
from tests.support.jobs import call_job
from tests.support.processes import DASK_SUBMIT, ROOT, environment, run
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer
from tests.support.stored import files_below
from tests.support.tiny_release import csv_row, write_release

MARK = "hunter2/sEcReT+MARKER"
PLAIN = "hunter2sEcReTMARKER"


@dataclass(frozen=True)
class Planted:
    """Archives as the environment names them, its other variables, and the exit code of the build."""

    archive: str
    code: int
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    folder: Path
    server: HttpServer
    bucket: Bucket
    zip_bytes: bytes

    @property
    def good(self) -> str:
        return self.server.put("/a.zip", self.zip_bytes)

    @property
    def empty(self) -> str:
        return self.server.put("/empty.zip", b"PK\x05\x06" + bytes(18))

    def refusing(self, status: int) -> str:
        url = self.server.put("/refused.zip", self.zip_bytes)
        self.server.faults["/refused.zip"] = [Answer(status, body=PLAIN.encode())] * 20
        return url

    def redirecting(self) -> str:
        target = self.server.put(f"/{PLAIN}/a.zip", self.zip_bytes) + f"?token={PLAIN}&other={PLAIN}"
        url = self.server.put("/away.zip", b"")
        self.server.faults["/away.zip"] = [Answer(302, {"Location": target})] * 20
        return url

    def with_netrc(self) -> dict[str, str]:
        file = self.folder / "netrc"
        file.write_text(f"machine 127.0.0.1 login me password {PLAIN}\n")
        file.chmod(0o600)
        return {"NETRC": str(file)}


def with_user(url: str) -> str:
    return url.replace("://", f"://me:{PLAIN}@")


PLACES: dict[str, Callable[[Place], Planted]] = {
    "redirect's path and query": lambda p: Planted(p.redirecting(), 0),
    "signature": lambda p: Planted(f"{p.good}?X-Amz-Signature={PLAIN}", 0),
    "password of a URL": lambda p: Planted(with_user(p.good), 0),
    "unknown parameter, no slice": lambda p: Planted(f"{p.empty}?whatever={PLAIN}", 2),
    "signature, no slice": lambda p: Planted(f"{p.empty}?sig={PLAIN}", 2),
    "password, refused": lambda p: Planted(with_user(p.refusing(403)), 2),
    "unknown parameter, gone": lambda p: Planted(f"{p.refusing(410)}?v={PLAIN}", 2),
    "netrc": lambda p: Planted(p.refusing(404), 2, p.with_netrc()),
    "user of a bucket": lambda p: Planted(f"s3://KEY:{MARK}@{p.bucket.name}/a.zip", 2),
    "key of S3": lambda p: Planted(
        f"{p.bucket.url}/none.zip", 2, {"AWS_SECRET_ACCESS_KEY": MARK, "AWS_SESSION_TOKEN": PLAIN}
    ),
}


@pytest.fixture
def place(tmp_path: Path, http_server: HttpServer, s3_bucket: Bucket, impatient: None) -> Place:
    write_release(tmp_path / "release", {"000001_01_01": [3, 4, 5]}, [csv_row("000001_01_01", 4, (3, 5))])
    return Place(tmp_path, http_server, s3_bucket, (tmp_path / "release" / "Images_png_01.zip").read_bytes())


@pytest.mark.parametrize("where", PLACES)
def test_no_output_shows_it(place: Place, where: str) -> None:
    planted = PLACES[where](place)
    store = place.folder / "store"
    config = place.folder / "config.yaml"
    content = {
        "store": str(store),
        "source": {"annotations": str(place.folder / "release/DL_info.csv"), "archives": ["a.zip"]},
        "cluster": "serial",
        "report": False,
    }
    config.write_text(yaml.safe_dump(content))
    variables = planted.variables | {"DEEPLESION__SOURCE__ARCHIVES": json.dumps([planted.archive])}
    done = call_job("build_store", str(config), code=planted.code, **variables)
    said = [done.stdout, done.stderr]
    if store.exists():
        said += [content.decode("latin-1") for content in files_below(store).values()]
        # Pages of Parquet are compressed.
        said += [pandas.read_parquet(path).to_csv() for path in store.rglob("*.parquet")]
    assert [text for text in said if MARK in text or PLAIN in text] == []
    assert planted.code != 0 or any("000001.json" in path.name for path in store.rglob("*"))


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
    }
    other = {"HOME": "/home/somebody", "AWS_WEB_IDENTITY_TOKEN_FILE": "/a/b/token", "A_TOKEN": "true"}
    assert set(known_secrets(secret | other)) >= {"a" * 40, "b" * 10, "c" * 8, "d" * 8, "e" * 8}
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

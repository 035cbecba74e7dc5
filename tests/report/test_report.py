"""The report as files: one self-contained page, and a CSV for each of its charts and checks."""

from __future__ import annotations

import io
import logging
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import escape

from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.report.report import make_report, report_after_build, write_report
from etl.store.reader import Store, open_store
from tests.support.logged import logged_here
from tests.support.s3_server import Bucket
from tests.support.stored import files_below


@pytest.fixture(scope="module")
def files(store: Store) -> dict[str, bytes]:
    return make_report(store)


@pytest.fixture(scope="module")
def page(files: dict[str, bytes]) -> str:
    return files["index.html"].decode()


@pytest.mark.slow
def test_every_picture_and_check_has_its_numbers_beside_the_page(files: dict[str, bytes], page: str) -> None:
    linked = set(re.findall(r'<a class="csv" href="([^"]+)"', page))
    assert linked == files.keys() - {"index.html"}
    charts = re.findall(r'<figure class="chart[^"]*" id="([^"]+)"', page)
    assert len(charts) == 9
    for name in charts:
        assert len(pd.read_csv(io.BytesIO(files[f"{name}.csv"]))), name


@pytest.mark.slow
def test_the_same_version_gives_the_same_bytes(store: Store, files: dict[str, bytes]) -> None:
    assert make_report(store) == files


def test_the_page_names_nothing_elsewhere(page: str, store: Store) -> None:
    addresses = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert {a for a in addresses if not a.startswith(("#", "data:")) and not a.endswith(".csv")} == {
        "https://nihcc.box.com/v/DeepLesion"
    }
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", page)


@pytest.mark.slow
def test_texts_from_the_data_are_escaped(store: Store) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    version = dict(store.version)
    version |= {
        "run_id": bad,
        "archives": [{"name": bad, "bytes": 1, "slices": 1}],
        "annotations": dict(version["annotations"]) | {"name": bad},
        "config": dict(version["config"]) | {"store": bad},
        "code": dict(version["code"]) | {bad: bad},
    }
    page = make_report(replace(store, version=version))["index.html"].decode()
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 5
    assert page.count("</script>") == 1


class HostileStore(Store):
    """A store whose texts would run as a script or end an attribute if they were not escaped."""

    def lesions(self, *args: Any, **options: Any) -> pd.DataFrame:
        rows = super().lesions(*args, **options)
        return rows.assign(file_name=HOSTILE + ".png", possibly_noisy=True)

    def rejects(self) -> pd.DataFrame:
        rows = pd.DataFrame({name: [HOSTILE] for name in ("kind", "reason", "found_in", "message")})
        return rows.assign(series_id=HOSTILE, slice_index=1, lesion_id=1)


HOSTILE = """'"></script></td><img src=x onerror=alert(1)>{{ 7 * 191 }}"""


@pytest.mark.slow
def test_texts_of_tables_are_escaped(store: Store) -> None:
    """File names in captions and checks, and names of archive members in rejects."""
    version = dict(store.version)
    version["archives"] = [{"name": HOSTILE, "bytes": 1, "slices": 1}]
    version["volumes"] = [dict(entry) for entry in version["volumes"]]
    page = make_report(HostileStore(store.objects, version))["index.html"].decode()
    assert "<img src=x" not in page
    assert "{{ 7 * 191 }}" in page
    assert page.count("</script>") == 1
    escaped = str(escape(HOSTILE))
    # kind, reason, found_in and the archive; a row of the checks for each lesion, a caption for each picture
    assert page.count(escaped) == 4 + len(store.lesions()) + store.lesions()["file_name"].nunique()
    parsed = Texts()
    parsed.feed(page)
    assert not parsed.odd
    assert HOSTILE in "".join(parsed.texts)


class Texts(HTMLParser):
    """Collects the page's text, and elements or attributes that are not in the template."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.odd += [name for name, _ in attrs if name.startswith("on")]
        self.odd += [
            str(value) for name, value in attrs if name == "src" and not str(value).startswith("data:")
        ]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.slow
def test_it_lies_in_the_store_by_the_number_of_its_version(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.objects.root, tmp_path / "store")
    before = files_below(tmp_path / "store")
    name, size = write_report(open_store(str(tmp_path / "store")))
    after = files_below(tmp_path / "store")
    assert name == "reports/000001/index.html"
    assert size == len(after[name])
    assert after.keys() - before.keys() == {path for path in after if path.startswith("reports/000001/")}
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
def test_a_store_in_a_bucket_has_its_report_there(
    store: Store, files: dict[str, bytes], s3_bucket: Bucket
) -> None:
    url = f"{s3_bucket.url}/store"
    objects = open_objects(url)
    for path, data in files_below(Path(store.objects.root)).items():
        objects.write(path, data)
    name, _ = write_report(open_store(url))
    for file, data in files.items():
        if file.endswith(".csv"):
            assert objects.read(f"reports/000001/{file}") == data
    page = objects.read(name)
    assert f"<dd>{url}</dd>".encode() in page
    assert page.count(b"<figure") == files["index.html"].count(b"<figure")


def test_a_store_of_the_contracts_first_version_has_a_report() -> None:
    store = open_store(str(Path(__file__).parent.parent / "contract" / "store_v1"))
    assert b"<h1>DeepLesion store, version 1</h1>" in make_report(store)["index.html"]


@pytest.mark.parametrize(("kind", "said"), [("reports", "can't be written"), ("tables", "can't be read")])
def test_an_error_says_if_reading_or_writing_failed(
    store: Store, tmp_path: Path, kind: str, said: str
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    shutil.rmtree(copy / kind, ignore_errors=True)
    (copy / kind).write_text("a file where a folder belongs")
    with pytest.raises(StoreError, match=said):
        write_report(open_store(copy))


def test_a_report_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        report_after_build(str(tmp_path / "none"), 1)
    assert "version 1 is published, but not its report" in caplog.text


def test_a_report_that_exists_is_not_rendered_again_where_nothing_changed(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    page = copy / "reports" / "000001" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(b"rendered before")
    rendered: list[str] = []
    monkeypatch.setattr(
        "etl.report.report.write_report", lambda opened: (rendered.append(opened.objects.root), ("x", 1))[1]
    )
    with caplog.at_level(logging.INFO):
        report_after_build(str(copy), 1, is_new=False)
        assert (rendered, logged_here(caplog)) == ([], [])
        page.unlink()
        for is_new in (False, True):
            report_after_build(str(copy), 1, is_new=is_new)
    assert rendered == [str(copy)] * 2
    assert caplog.messages.count("writing the report of version 1") == 2

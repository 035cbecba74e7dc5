"""Dask's performance report of a run: one page that needs no network, linked from the store's report."""

from __future__ import annotations

import json
import logging
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from etl.pipeline.build import build, load_plan
from etl.report.report import report_after_build
from etl.run.dask import DaskExecutor
from tests.support.spoilt_builds import config_of


class Loaded(HTMLParser):
    """Collects the resources that a page loads, and its links."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = [value for name, value in attrs if name in ("src", "href") and value]
        (self.links if tag == "a" else self.loaded).extend(found)


def build_on_cluster(folder: Path) -> dict[str, Any]:
    """Build on a cluster; return the record of the run."""
    config = config_of(folder)
    # Threads do for workers here: the report is the scheduler's.
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    options |= {"silence_logs": False}  # or it would silence pytest too
    with LocalCluster(n_workers=1, **options) as cluster, Client(cluster, set_as_default=False) as client:
        done = build(config, load_plan(config), DaskExecutor(client))
    (record,) = (folder / "store" / "runs").glob("*.json")
    assert record.stem == done.published.version["run_id"]
    return dict(json.loads(record.read_bytes()))


@pytest.mark.slow
def test_the_page_is_whole_and_linked(tmp_path: Path) -> None:
    pytest.importorskip("bokeh")
    record = build_on_cluster(tmp_path)
    store = tmp_path / "store"
    assert record["performance_report"] == f"runs/{record['run_id']}.html"
    page = store / record["performance_report"]
    assert "Dask Performance Report" in page.read_text()
    assert [address for address in Loaded(page).loaded if not address.startswith("data:")] == []

    report_after_build(str(store), 1)
    index = store / "reports" / "000001" / "index.html"
    (link,) = (link for link in Loaded(index).links if link.endswith(page.name))
    assert (index.parent / link).resolve() == page.resolve()


@pytest.mark.slow
def test_without_bokeh_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with caplog.at_level(logging.INFO, logger="etl.run.dask"):
        record = build_on_cluster(tmp_path)
    assert record["performance_report"] is None
    assert "no performance report: it needs pip install 'deeplesion-store[performance]'" in caplog.messages
    assert [path.suffix for path in (tmp_path / "store" / "runs").iterdir()] == [".json"]

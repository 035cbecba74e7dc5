from __future__ import annotations

import re
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from tests.support.jobs import call_job
from tests.support.processes import LIMIT_SECONDS, ROOT, interrupt, running, wait_until
from tests.support.stored import build_store, config_data

SERVE = [sys.executable, "-u", str(ROOT / "jobs" / "serve_store.py")]


@pytest.fixture(scope="module")
def store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("job") / "store"
    data = config_data(phantom[0], root, select={"patients": [1]}, volume={"spacing_mm": 3.0})
    build_store(data, SerialExecutor())
    return root


@pytest.mark.slow
def test_it_serves_ranges_until_ctrl_c(store: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running([*SERVE, str(store), "--port", "0"], log) as process:
        wait_until(lambda: "Ctrl-C stops" in log.read_text(), "it was listening")
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", log.read_text())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(f"{address}store/versions/000001.json", headers={"Range": "bytes=2-9"})
        with opener.open(asked) as answer:
            assert answer.status == 206
            assert answer.read() == (store / "versions" / "000001.json").read_bytes()[2:10]
        interrupt(process)
        assert process.wait(LIMIT_SECONDS) == 0
    assert "Traceback" not in log.read_text()


def test_a_port_that_is_taken_is_said(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = call_job("serve_store", str(store), "--port", str(taken.getsockname()[1]), code=2)
    assert "can't be used" in done.stderr
    assert "--port" in done.stderr


def test_no_store_is_said(tmp_path: Path) -> None:
    done = call_job("serve_store", str(tmp_path / "none"), code=2)
    assert "there is no store here" in done.stderr

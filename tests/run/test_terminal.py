"""`dask-submit` on a terminal: what it shows there and elsewhere, and Ctrl-C pressed twice."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.processes import (
    DASK_SUBMIT,
    LIMIT_SECONDS,
    ROOT,
    assert_gone,
    descendants,
    run,
    wait_until,
)
from tests.support.spoilt_builds import config_of
from tests.support.terminals import CTRL_C, on_terminal

pytestmark = pytest.mark.campaign

# Its worker does what takes a minute. Then it ends at Ctrl-C, or does not hear it.
SCRIPT = """
import os, signal, sys, time
from distributed import Client, fire_and_forget
client = Client()
fire_and_forget(client.submit(time.sleep, 60))
signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == "deaf" else lambda *_: os._exit(7))
print("ready", flush=True)
time.sleep(60)
"""


def test_progress_is_live_on_a_terminal_and_plain_lines_elsewhere(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(tmp_path).resolved() | {"report": False}))
    command = [*DASK_SUBMIT, str(ROOT / "jobs" / "build_store.py"), str(config)]
    with on_terminal(command) as terminal:
        assert terminal.process.wait(LIMIT_SECONDS) == 0, terminal.text()
        wait_until(lambda: "open it with " in terminal.text(), "all of it was shown")
    shown = terminal.text()
    assert re.search(r"8/8 volumes \(0 reused\), 0 rejects.*━", shown)
    assert "\x1b[2K\x1b[1A" in shown  # it is drawn over itself
    assert " INFO " not in shown

    done = run(command)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"(?m)^\S+ INFO 8/8 volumes \(8 reused\), 0 rejects", done.stderr)


@pytest.mark.parametrize("script_is", ["deaf", "obedient"])
def test_ctrl_c_twice_waits_for_nothing(script_is: str, tmp_path: Path) -> None:
    """Neither for a script that goes on, nor for the workers of a cluster that is being closed in order."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    with on_terminal([*DASK_SUBMIT, "--workers", "1", str(path), script_is]) as terminal:
        wait_until(lambda: "ready" in terminal.text(), f"the script ran: {terminal.text()}")
        others = descendants(terminal.process)
        script = next(other for other in others if str(path) in other.cmdline())
        terminal.press(CTRL_C)
        if script_is == "obedient":
            # Two that come while dask-submit has no core are one: it has to have seen the script's end.
            wait_until(lambda: not psutil.pid_exists(script.pid), "dask-submit had waited for the script")
        else:
            time.sleep(0.5)  # two that come together are one
        terminal.press(CTRL_C)
        # Else it were the script's own code, or come after a minute.
        assert terminal.process.wait(30) == 130
        assert_gone(others)
    assert "Traceback" not in terminal.text()

"""A script in a process of its own: no signal is lost on the way to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from etl.run.submit import UNTIL_PARENT_ENDS, run_script


class Unlucky(subprocess.Popen[bytes]):
    """A process whose parent gets SIGTERM right after starting it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_while_it_starts_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "script.py"
    path.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(subprocess, "Popen", Unlucky)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert run_script([str(path)], os.environ) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's end")
def test_a_script_whose_parent_has_ended_before_it_starts_does_not_start() -> None:
    program = [sys.executable, "-c", "print('started')"]
    other = [sys.executable, "-IS", str(UNTIL_PARENT_ENDS), str(os.getppid()), *program]
    done = subprocess.run(other, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")

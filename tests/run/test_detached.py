"""Detached jobs beside a real scheduler: they outlive who submitted them, and a scheduler that is killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from etl.run.detached import JobState
from etl.run.remote_jobs import jobs_table
from tests.support.processes import (
    DASK_SUBMIT,
    dask_scheduler,
    environment,
    interrupt,
    is_running,
    run,
    running,
    wait_until,
)

pytestmark = pytest.mark.slow
# Says what it was given and where it works; then waits for a file, or for a signal.
SCRIPT = """
import os, pathlib, signal, sys, time
def told(number, frame):
    print("got", signal.Signals(number).name)
    sys.exit(7)
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[3:] == ["deaf"] else told)
# Not for ever, where a test fails.
signal.alarm(120)
config = pathlib.Path(sys.argv[1])
print(config.name, config.read_text(), os.getcwd(), os.environ.get("DEEPLESION__STORE"))
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
print("done")
sys.exit(5)
"""


class Place:
    """A working folder with a script and a config, and a scheduler to submit to."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address, self.go = folder, address, folder / "go"
        (folder / "script.py").write_text(SCRIPT)
        (folder / "config.yaml").write_text("store: s")

    def command(self, *words: str) -> list[str]:
        return [*DASK_SUBMIT, "--scheduler", self.address, *words]

    def submit(self, *more: str) -> str:
        words = ["--detach", "script.py", "config.yaml", str(self.go), *more]
        done = run(self.command(*words), cwd=self.folder, env=environment(DEEPLESION__STORE="mine"))
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}\n", done.stdout)
        assert str(self.folder) in done.stderr
        return done.stdout.strip()

    def states(self) -> dict[str, str]:
        done = run(self.command("--list"))
        assert done.returncode == 0, done.stderr
        return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}


@pytest.fixture(autouse=True)
def nothing_remains(tmp_path: Path) -> Iterator[None]:
    """No driver and no script outlives its test; where that fails they are named, and killed."""
    yield
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or []) and is_running(process)
    ]
    commands = [process.info["cmdline"] for process in left]
    for process in left:
        process.kill()
    assert commands == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with dask_scheduler(tmp_path) as (address, _):
        yield Place(tmp_path, address)


def test_a_job_outlives_who_submitted_it_and_gives_log_and_exit_code(place: Place) -> None:
    job = place.submit()
    # What travelled is there even if the original is changed meanwhile.
    (place.folder / "config.yaml").write_text("store: another")
    assert place.states() == {job: "running"}

    # Ctrl-C ends the following only.
    output = place.folder / "followed"
    with running(place.command("--attach", job), output) as process:
        wait_until(lambda: b"store" in output.read_bytes(), "the log came")
        interrupt(process)
        assert process.wait(30) == 130
    assert f"the job goes on: --attach {job} follows it" in output.read_text()
    assert "Traceback" not in output.read_text()

    place.go.touch()
    for _ in range(2):
        followed = run(place.command("--attach", job))
        expected = f"config.yaml store: s {place.folder} mine\ndone\n"
        assert (followed.returncode, followed.stdout, followed.stderr) == (5, expected, "")
    assert place.states() == {job: "ended"}
    assert "ended already" in run(place.command("--cancel", job)).stderr


def test_cancel_stops_in_order_and_the_second_time_at_once(place: Place) -> None:
    jobs = [place.submit(), place.submit("deaf")]
    for job in jobs:
        with running(place.command("--attach", job), place.folder / job) as process:
            wait_until((place.folder / job).read_bytes, "the script ran")
            cancelled = run(place.command("--cancel", job))
            assert (cancelled.returncode, cancelled.stderr) == (0, f"{job} told to stop\n")
            if job == jobs[1]:
                assert place.states()[job] == "running"
                run(place.command("--cancel", job))
            assert process.wait(30) == (7 if job == jobs[0] else 4)
    assert (place.folder / jobs[0]).read_text().endswith("got SIGTERM\n")
    assert place.states() == {jobs[0]: "ended", jobs[1]: "lost"}


def test_a_scheduler_that_is_started_anew_knows_its_jobs(tmp_path: Path) -> None:
    with dask_scheduler(tmp_path) as (address, scheduler):
        place = Place(tmp_path, address)
        job = place.submit()
        assert place.states() == {job: "running"}
        with running(place.command("--attach", job), tmp_path / "followed") as process:
            wait_until((tmp_path / "followed").read_bytes, "the script ran")
            os.kill(scheduler.pid, signal.SIGKILL)
            assert process.wait(60) == 4
        assert "Error: the connection to the scheduler was lost" in (tmp_path / "followed").read_text()
        assert "Traceback" not in (tmp_path / "followed").read_text()
    (tmp_path / "scheduler.json").unlink()
    with dask_scheduler(tmp_path) as (address, _):
        place = Place(tmp_path, address)
        assert place.states() == {job: "running"}
        place.go.touch()
        assert run(place.command("--attach", job)).returncode == 5


def test_a_script_ends_with_its_driver_and_its_job_is_lost_only_then(place: Place) -> None:
    for job, ends in ((place.submit(), True), (place.submit("deaf"), False)):
        log = place.folder / job
        with running(place.command("--attach", job), log) as process:
            wait_until(log.read_bytes, "the script ran")
            jobs = place.folder / f"dask-submit-{os.getuid()}"
            driver = psutil.Process(int((jobs / job / "pid").read_text()))
            (script,) = driver.children()
            driver.kill()
            if not ends:
                # It heeds neither that its driver has ended nor that it is asked to.
                assert place.states()[job] == "running"
                for _ in range(2):
                    assert is_running(script)
                    assert run(place.command("--cancel", job)).stderr == f"{job} told to stop\n"
            assert process.wait(30) == 4
        assert not is_running(script)
        assert place.states()[job] == "lost"
        killed = f"{job} was killed and left no exit code; run the same again\n"
        assert log.read_text().endswith(f"{'got SIGTERM' if ends else 'mine'}\n{killed}")
    place.go.touch()
    again = place.submit()
    assert run(place.command("--attach", again)).returncode == 5


def test_a_job_that_is_not_there(place: Place) -> None:
    for option in ("--attach", "--cancel"):
        done = run(place.command(option, "../nothing"))
        assert done.returncode == 2
        assert done.stderr.startswith("Error: there is no such job (")
        assert len(done.stderr.splitlines()) == 1


def test_the_table_of_jobs() -> None:
    states = [
        JobState(
            "20260102-030405-abcd", "running", None, 1767323045.0, ("jobs/build_store.py", "a b.yaml"), "/x"
        ),
        JobState("20260102-030406-abcd", "ended", 130, 1767323046.0, ("s.py",), "/x"),
    ]
    assert jobs_table(states).splitlines() == [
        "JOB                  STATE    EXIT  STARTED (UTC)        COMMAND",
        "20260102-030405-abcd running        2026-01-02T03:04:05  jobs/build_store.py 'a b.yaml'",
        "20260102-030406-abcd ended     130  2026-01-02T03:04:06  s.py",
    ]

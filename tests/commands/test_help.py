"""Every command answers `--help` without heavy packages, documents itself, and repeats what was typed."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from etl.commands.deeplesion import COMMANDS, GROUPS
from etl.report.console.command import typed_command
from etl.run.submit import SUBMITTED_AS, typed_program, typed_submit
from tests.support.processes import LIMIT_SECONDS, ROOT, environment

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
HEAVY = ("pandas", "numba", "s3fs", "pyarrow", "zarr", "dask", "distributed", "numpy", "pydantic", "rich")
SHOW_HELP = """
import importlib, json, sys
from click.testing import CliRunner
command = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
done = CliRunner().invoke(command, ["--help"])
print(json.dumps([done.exit_code, done.output, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def commands_of(command: click.Command) -> list[click.Command]:
    return [command, *(command.commands.values() if isinstance(command, click.Group) else ())]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((f"etl.commands.{module}", name) for module, name, _ in COMMANDS.values()),
        ("etl.commands.deeplesion", "main"),
        ("etl.run.submit", "submit"),
    ],
)
def test_help_is_complete_and_loads_nothing_heavy(module: str, name: str) -> None:
    command = [sys.executable, "-c", SHOW_HELP, module, name]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    exit_code, text, loaded = json.loads(done.stdout)
    assert exit_code == 0, text
    main = getattr(importlib.import_module(module), name)
    assert main.help
    for parameter in main.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name}: {parameter.name}"
        assert (parameter.opts[0] if isinstance(parameter, click.Option) else parameter.name.upper()) in text
    assert [package for package in HEAVY if package in loaded] == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "phantom"])
def test_help_lists_exit_codes_and_examples(name: str) -> None:
    module, function, _ = COMMANDS[name]
    main = getattr(importlib.import_module(f"etl.commands.{module}"), function)
    forms = [name, name.replace("-", " ", 1)] if name.partition("-")[0] in GROUPS else [name]
    assert any(f"  deeplesion {form}" in main.help for form in forms)
    assert "Exit codes: 0  " in main.help
    for command in commands_of(main):
        assert command.help
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{command.name}: {option.name}"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_usage_error_repeats_no_secret(name: str) -> None:
    module, function, _ = COMMANDS[name]
    main = getattr(importlib.import_module(f"etl.commands.{module}"), function)
    for typed in (["https://me:sEcReT@host/x"] * 9, ["--https://me:sEcReT@host/x"]):
        done = CliRunner().invoke(main, typed)
        assert done.exit_code == 2
        assert "sEcReT" not in done.output


def test_a_job_is_a_command_of_the_package() -> None:
    assert set(JOBS) == {module for module, _, _ in COMMANDS.values()} - {"config"}
    for job in JOBS:
        main = importlib.import_module(f"jobs.{job}").main
        assert main is importlib.import_module(f"etl.commands.{job}").main
        assert len(Path(ROOT, "jobs", f"{job}.py").read_text().splitlines()) <= 10


def test_the_command_lists_and_completes_its_subcommands(tmp_path: Path) -> None:
    from etl.commands.deeplesion import main

    listed = CliRunner().invoke(main, ["--help"]).output
    for name in COMMANDS:
        group, _, word = name.partition("-")
        if group in GROUPS:
            assert re.search(rf"^  {group} +[A-Z]", listed, re.MULTILINE), name
            inside = CliRunner().invoke(main, [group, "--help"]).output
            assert re.search(rf"^  {word} +[A-Z]", inside, re.MULTILINE), name
            helps = [CliRunner().invoke(main, [*words, "--help"]).output for words in ([group, word], [name])]
            assert helps[0].replace(f"{group} {word}", name) == helps[1].replace(f"{group} {word}", name)
        else:
            assert re.search(rf"^  {name} +[A-Z]", listed, re.MULTILINE), name
    words = {"_DEEPLESION_COMPLETE": "bash_complete", "COMP_WORDS": "deeplesion ve", "COMP_CWORD": "1"}
    done = CliRunner(env=words).invoke(main, prog_name="deeplesion")
    assert done.output.split() == ["plain,verify", "plain,versions"]
    words = {"_DEEPLESION_COMPLETE": "bash_complete", "COMP_WORDS": "deeplesion train ", "COMP_CWORD": "2"}
    done = CliRunner(env=words).invoke(main, prog_name="deeplesion")
    trained = [name.removeprefix("train-") for name in COMMANDS if name.startswith("train-")]
    assert done.output.split() == [f"plain,{word}" for word in trained]
    for unknown in (["buidl"], ["train", "buidl"]):
        assert CliRunner().invoke(main, unknown).exit_code == 2


def test_the_commands_of_a_group_are_listed_in_whole_sentences() -> None:
    from etl.commands.store_versions import main

    told = " ".join(CliRunner().invoke(main, ["build/store", "--help"]).output.split())
    assert "prune Remove old versions, and the volumes and tables that no remaining version names. " in told


def test_a_usage_error_under_dask_submit_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["etl/commands/__main__.py", "verfy"])
    with pytest.raises(SystemExit):
        runpy.run_module("etl.commands", run_name="__main__", alter_sys=True)
    assert "Try 'deeplesion --help'" in capsys.readouterr().err


def test_a_command_is_printed_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "dask-submit", "deeplesion"):
        (tmp_path / name).write_text("#!/bin/sh")
        (tmp_path / name).chmod(0o755)
    in_path, elsewhere = str(tmp_path / "dask-submit"), ".venv/bin/dask-submit"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed_submit(in_path) == ["dask-submit"]
    assert typed_submit(str(tmp_path / "dask")) == ["dask", "submit"]
    assert typed_submit(elsewhere) == [elsewhere]
    assert typed_program(str(tmp_path / "deeplesion")) == "deeplesion"
    monkeypatch.setattr(sys, "argv", ["jobs/export.py", "a store"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "jobs/export.py", "a store"])
    monkeypatch.delenv(SUBMITTED_AS, raising=False)
    assert typed_command() == "python -u jobs/export.py 'a store'"
    monkeypatch.setenv(SUBMITTED_AS, f"{elsewhere} --workers 2")
    assert typed_command() == f"{elsewhere} --workers 2 jobs/export.py 'a store'"
    monkeypatch.delenv(SUBMITTED_AS)
    for program, typed in ((tmp_path / "deeplesion", "deeplesion"), (".venv/bin/deeplesion",) * 2):
        monkeypatch.setattr(sys, "argv", [str(program), "export", "a store"])
        assert typed_command() == f"{typed} export 'a store'"

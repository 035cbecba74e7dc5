"""Measure speed and memory against other tools and against the machine; a table, and JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.part import PARTS
from benchmarks.report import benchmark_text, estimate, machine

# Work is parallel over volumes, so every library of a process keeps to one core.
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMBA")
ONE_THREAD = {"BLOSC_NTHREADS": "1", **{f"{library}_NUM_THREADS": "1" for library in LIBRARIES}}


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="build/benchmark.json",
    show_default=True,
    help="The figures.",
)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this part; repeatable.")
def main(out: Path, parts: tuple[str, ...]) -> None:
    """Run the benchmark, every part in a process of its own. Real slices are taken from ../shared/real.

    Figures of parts that are not run stay in the file as they are. Needs the extra `bench`, and an otherwise
    idle machine; the 200,000 empty volumes take longest.

    Example: python -m benchmarks --part conversion
    """
    folder = out.parent / "benchmark"
    figures = json.loads(out.read_text()) if parts and out.exists() else {}
    figures["machine"] = machine()
    environment = {k: v for k, v in os.environ.items() if k != "DASK_SCHEDULER_ADDRESS"} | ONE_THREAD
    for part in parts or PARTS:
        click.echo(f"{part} ...", err=True)
        command = [sys.executable, "-m", "benchmarks.part", part, str(folder / part)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        shutil.rmtree(folder / part, ignore_errors=True)
        if done.returncode:
            click.echo(f"error: {part} failed, see above", err=True)
            sys.exit(1)
        figures |= json.loads(done.stdout.splitlines()[-1])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures | estimate(figures), indent=1) + "\n")
    click.echo(benchmark_text(figures | estimate(figures)))


if __name__ == "__main__":
    main()

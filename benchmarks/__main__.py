"""Measure speed and memory, and compare them with other tools and with the machine's limits."""

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

# Work is parallel over volumes, so every library gets one thread per process.
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMBA")
ONE_THREAD = {"BLOSC_NTHREADS": "1", **{f"{library}_NUM_THREADS": "1" for library in LIBRARIES}}


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="build/benchmark.json",
    show_default=True,
    help="File for the results.",
)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Run this part only.")
def main(out: Path, parts: tuple[str, ...]) -> None:
    """Run the benchmark, each part in its own process. Real slices are read from ../shared/real.

    Results of parts that are not run stay in the file. This needs the extra `bench` and an otherwise idle
    machine. The part with 200,000 empty volumes takes longest.

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
            click.echo(f"error: the part {part} failed; its output is above", err=True)
            sys.exit(1)
        figures |= json.loads(done.stdout.splitlines()[-1])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures | estimate(figures), indent=1) + "\n")
    click.echo(benchmark_text(figures | estimate(figures)))


if __name__ == "__main__":
    main()

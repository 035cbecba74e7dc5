"""A training that shows its progress: a bar or lines, and the files of its curves."""

from __future__ import annotations

from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from etl.learn.curves import write_curves
from etl.learn.loop import Loop


def run_shown(training: Loop, until: int, validate_steps: int, console: Any) -> None:
    """Make steps up to number `until`; show each, and write the curves at each look at the val split.

    Of several processes only the first shows and writes.

    Args:
        console: of rich; it gets a bar where it is a terminal, else there is a line at each look.
    """
    if not training.processes.is_first:
        training.run(until)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive) as bar:
        task = bar.add_task("", total=until, completed=training.step)

        def show(now: Loop, loss: float) -> None:
            val = f", val {now.measure():.3f}" if now.curve else ""
            text = f"step {now.step:,}, loss {loss:.4f}, rate {now.rate():.1e}{val}"
            bar.update(task, completed=now.step, description=text)
            if now.step % validate_steps == 0:
                write_curves(now.curve, now.folder)
                if not console.is_interactive:
                    click.echo(text, err=True)

        training.run(until, show)
    write_curves(training.curve, training.folder)

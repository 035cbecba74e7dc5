"""Conversion and reads side by side with commit 32fce51, the build before this reader.

    git worktree add ../then 32fce51
    python -m benchmarks.against ../then

Both trees run with the packages of this environment, each in a process of its own on the same core, and take
turns at each operation, so that other load affects both equally.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click

Operation = tuple[Callable[[Any], object], Sequence[Any]]
OPERATIONS = ("convert", "store_crop", "lesion_crops", "plane", "volume", "key_slab")
HERE = Path(__file__).resolve().parent.parent
CROP = 64


@click.command()
@click.argument("then", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=7, show_default=True, help="Turns of each tree at each operation.")
@click.option("--seconds", default=2.0, show_default=True, help="CPU seconds of a turn.")
@click.option("--cache-mb", default=0.0, show_default=True, help="Cache of decoded chunks of this tree.")
def main(then: Path, rounds: int, seconds: float, cache_mb: float) -> None:
    """Compare this tree with an older one, THEN: calls per CPU second, and the median of their ratios."""
    from benchmarks.__main__ import ONE_THREAD
    from benchmarks.reading_release import write_release

    with tempfile.TemporaryDirectory() as folder:
        write_release(Path(folder) / "release", 3, 39)
        sides = {}
        for name, tree in (("then", then.resolve()), ("now", HERE)):
            command = [sys.executable, __file__, str(tree), folder, str(cache_mb)]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            sides[name] = subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, **pipes)
        try:
            sizes = {name: _answer(side)["bytes"] for name, side in sides.items()}
            click.echo(f"bytes of the volumes: then {sizes['then']:,}, now {sizes['now']:,}")
            for operation in OPERATIONS:
                rates: dict[str, list[float]] = {name: [] for name in sides}
                for _ in range(rounds):
                    for name, side in sides.items():
                        _pipe(side.stdin).write(f"{operation} {seconds}\n")
                        _pipe(side.stdin).flush()
                        rates[name].append(_answer(side)["per_cpu_second"])
                ratios = sorted(b / a for a, b in zip(rates["then"], rates["now"], strict=True))
                then_rate, now_rate = (statistics.median(rates[name]) for name in ("then", "now"))
                click.echo(
                    f"{operation:14}then {then_rate:8.2f}/s  now {now_rate:8.2f}/s  "
                    f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )
        finally:
            for side in sides.values():
                side.kill()
                side.wait()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _answer(side: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next answer of a side; its logs are left out."""
    for line in _pipe(side.stdout):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    sys.exit("error: a side ended; what it printed is above")


def serve(tree: Path, folder: Path, cache_mb: float) -> None:
    """Answer each line of standard input, an operation and seconds, with its calls per CPU second."""
    import time

    sys.path.insert(0, str(tree))
    os.chdir(tree)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    is_then = (tree / "etl" / "benchmark").is_dir()
    own = folder / ("then" if is_then else "now")
    (own / "sample").mkdir(parents=True)
    operations, size = _operations(is_then, own, folder / "release", cache_mb)
    print(json.dumps({"bytes": size}), flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        function, items = operations[name]
        function(items[0])
        start, count = time.process_time(), 0
        for item in _cycle(items):
            function(item)
            count += 1
            if time.process_time() - start > float(seconds):
                break
        print(json.dumps({"per_cpu_second": count / (time.process_time() - start)}), flush=True)


def _cycle(items: Sequence[Any]) -> Iterator[Any]:
    return itertools.cycle(items)


def _operations(is_then: bool, own: Path, release: Path, cache_mb: float) -> tuple[dict[str, Operation], int]:
    """Return the operations of a tree, and the bytes of the volumes of its store."""
    import importlib

    def module(then: str, now: str) -> Any:
        return importlib.import_module(then if is_then else now)

    import numpy as np

    sample = module("etl.benchmark.sample", "benchmarks.sample")
    config, pipeline = module("etl.config", "etl.core.config"), module("etl.build", "etl.pipeline.build")
    store_module = importlib.import_module("etl.store")
    made = sample.make_sample(own / "sample", config.Volume())
    data = {
        "store": str(own / "store"),
        "source": {"annotations": str(release / "DL_info.csv"), "images": str(release / "Images_png")},
        "limits": {"rejects": 1.0, "location_disagreement": 1.0},
        "report": False,
    }
    built = config.Config.model_validate(data)
    executor = module("etl.run.executors", "etl.run.serial").SerialExecutor()
    pipeline.build(built, pipeline.load_plan(built), executor)
    store = store_module.open_store(built.store, **({} if is_then else {"cache_mb": cache_mb}))
    lesions, crops = store.lesions(), store_module.LesionCrops(store, size_vox=(CROP,) * 3)
    ids, names = lesions["lesion_id"].tolist(), store.volumes()["volume_id"].tolist()
    places = dict(zip(ids, zip(lesions["volume_id"], lesions["z_vox"], strict=True), strict=True))
    slabs = None if is_then else store_module.KeySlabs(store)

    def convert(_: Any) -> None:
        shutil.rmtree(own / "converted", ignore_errors=True)
        sample.convert(made, config.Volume(), own / "converted")

    def key_slab(number: int) -> Any:
        if slabs is not None:
            return slabs[number % len(slabs)]
        name, z_vox = places[number]
        volume = store.volume(name)
        at = np.clip(np.rint(z_vox + 2 * np.arange(-4, 5)).astype(int), 0, len(volume) - 1)
        return np.stack([volume[int(plane)].values for plane in at])

    operations: dict[str, Operation] = {
        "convert": (convert, [0]),
        "store_crop": (lambda number: store.crop(number, size_mm=CROP).values, ids),
        "lesion_crops": (lambda number: crops[number % len(crops)], ids),
        "plane": (lambda name: store.volume(name)[100].values, names),
        "volume": (lambda name: store.volume(name).values, names),
        "key_slab": (key_slab, ids),
    }
    shards = (own / "store" / "volumes").rglob("c/0/0/0")
    return operations, sum(file.stat().st_size for file in shards)


if __name__ == "__main__":
    if len(sys.argv) == 4 and not sys.argv[2].startswith("-"):
        serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    else:
        main()

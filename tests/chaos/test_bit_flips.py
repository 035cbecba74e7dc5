"""Single bits flip in every kind of object: a reader gets the same values or a StoreError, never others.

A few flips of each kind here; 1,000 of each in `make chaos`. The places come from a seed.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.store import open_store
from etl.store.labels import find_labels
from etl.store.layout import receipt_path, split_path
from etl.store.prune import find_prunable
from etl.store.receipts import find_receipt, read_split
from etl.store.root import check_root
from etl.store.version_list import list_versions
from etl.verify.verify import verify
from tests.chaos.conftest import TallyOf
from tests.chaos.flips import FLIPS, SEED, flipped
from tests.support.all_kinds import MODEL_ID, SPLIT, write_all_kinds

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Flipped:
    """A kind of object whose bits flip.

    Attributes:
        find: its object in a store.
        observe: everything that a reader learns from it; raises, or gives nothing, where it is damaged.
        flips: fewer in the suite, where one observation reads all of the store.
    """

    find: Callable[[Path], Path]
    observe: Callable[[str], Any]
    flips: int = FLIPS


def version_file(number: int) -> Callable[[Path], Path]:
    return lambda folder: folder / f"versions/{number:06d}.json"


def first_volume(folder: Path) -> Path:
    return folder / open_store(str(folder)).version["volumes"][0]["path"]


def first_labels(folder: Path) -> Path:
    return folder / open_store(str(folder)).version["labels"][0]["path"]


def model_folder(folder: Path) -> Path:
    return folder / "models" / "brightness" / MODEL_ID


@functools.cache
def split_record(folder: Path) -> Path:
    """The record whose volumes the current version names."""
    named = {entry["path"].split("/")[2][:16] for entry in open_store(str(folder)).version["volumes"]}
    found = folder.glob("volumes/*/*.split.json")
    return next(
        path for path in found if named & {part[1] for part in json.loads(path.read_bytes())["parts"]}
    )


def receipt_of(group: Callable[[Path], Path]) -> Callable[[Path], Path]:
    return lambda folder: folder / receipt_path(group(folder).relative_to(folder).as_posix())


def table_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / open_store(str(folder)).version["tables"][name][0]["path"]


def table(name: str) -> Callable[[str], Any]:
    return lambda store: open_store(store).table(name).to_dict("list")


def covered(store: str) -> Any:
    return sorted(open_store(store).covered("planes"))


def voxels(store: str) -> Any:
    opened = open_store(store)
    volume_id = opened.version["volumes"][0]["volume_id"]
    levels = [opened.volume(volume_id, level) for level in (0, 1)]
    return [(v.values.tolist(), v.attrs, {a: v[a].values.tolist() for a in "zyx"}) for v in levels]


def mask(grid: Any) -> Callable[[str], Any]:
    def observe(store: str) -> Any:
        found = open_store(store).mask(0, grid=grid)
        return found.values.tolist(), found.attrs

    return observe


def model_file(name: str) -> Callable[[str], Any]:
    return lambda store: open_store(store).model_file("brightness", name)


def summaries(store: str) -> Any:
    listing = list_versions(open_objects(store))
    return listing.summaries(listing.numbers)


def dated(store: str) -> Any:
    return open_store(store, as_of="2999-01-01").version


def root(store: str) -> Any:
    return check_root(open_objects(store))


def receipt(store: str) -> Any:
    path = open_store(store).version["volumes"][0]["path"]
    found = find_receipt(open_objects(store), *path.split("/")[1:2], path.split("/")[2].partition(".")[0])
    return damaged_if_none(found and found.receipt.to_bytes())


def labels_receipt(store: str) -> Any:
    path = open_store(store).version["labels"][0]["path"]
    return damaged_if_none(
        find_labels(open_objects(store), path.split("/")[1], path.split("/")[2].partition(".")[0])
    )


def split(store: str) -> Any:
    name = split_record(Path(store)).relative_to(store).as_posix()
    _, volume_id, file = name.split("/")
    assert split_path(volume_id, file.partition(".")[0]) == name
    return damaged_if_none(read_split(open_objects(store), volume_id, file.partition(".")[0]))


def damaged_if_none(found: Any) -> Any:
    if found is None:
        raise StoreError("a build takes it for absent", where="")
    return found


def verified(store: str) -> Any:
    objects = open_objects(store)
    problems = verify(objects, list_versions(objects).numbers[-1]).problems
    if problems:
        raise StoreError(str(problems[0]))


def prunable(store: str) -> Any:
    found = find_prunable(open_objects(store), 1, 0, 4e9)
    units = [unit.path for units in found.units.values() for unit in units]
    # A damaged split record may go: the next build makes it again.
    record = split_record(Path(store)).relative_to(store).as_posix().partition(".")[0]
    return found.kept, found.versions, [path for path in units if path != record]


WHOLE = FLIPS if FLIPS > 100 else 2
LAST = version_file(5)
KINDS = {
    "version": Flipped(LAST, lambda s: open_store(s).version),
    "version, by date": Flipped(LAST, dated),
    "version, then prune": Flipped(LAST, prunable, WHOLE),
    "parent": Flipped(version_file(4), verified, WHOLE),
    "pinned version": Flipped(version_file(1), lambda s: open_store(s, 1).version),
    "tagged version": Flipped(version_file(1), lambda s: open_store(s, "paper").version),
    "tagged version, then prune": Flipped(version_file(1), prunable, WHOLE),
    "tag": Flipped(lambda f: f / "versions/tags/paper.json", lambda s: open_store(s, "paper").version),
    "tag, then prune": Flipped(lambda f: f / "versions/tags/paper.json", prunable, WHOLE),
    "summary": Flipped(lambda f: f / "versions/summaries/000004.json", summaries),
    "summary, by date": Flipped(lambda f: f / "versions/summaries/000005.json", dated),
    "root": Flipped(lambda f: f / "store.json", root),
    "root, verified": Flipped(lambda f: f / "store.json", verified, WHOLE),
    **{
        f"table {name}": Flipped(table_file(name), table(name))
        for name in ("lesions", "volumes", "slices", "rejects", "masks", "planes")
    },
    "table planes, covered": Flipped(table_file("planes"), covered),
    "group metadata": Flipped(lambda f: first_volume(f) / "zarr.json", voxels),
    "level metadata": Flipped(lambda f: first_volume(f) / "1/zarr.json", voxels),
    "shard": Flipped(lambda f: first_volume(f) / "0/c/0/0/0", voxels),
    "coarser shard": Flipped(lambda f: first_volume(f) / "1/c/0/0/0", voxels),
    "shard, verified": Flipped(lambda f: first_volume(f) / "0/c/0/0/0", verified, WHOLE),
    "receipt": Flipped(receipt_of(first_volume), receipt),
    "receipt, verified": Flipped(receipt_of(first_volume), verified, WHOLE),
    "split record": Flipped(split_record, split),
    "split record, then prune": Flipped(split_record, prunable, WHOLE),
    "labels' level metadata": Flipped(
        lambda f: first_labels(f) / "labels/lesions/0/zarr.json", mask("stored")
    ),
    "labels' shard": Flipped(lambda f: first_labels(f) / "labels/lesions/0/c/0/0/0", mask("stored")),
    "labels' source shard": Flipped(
        lambda f: first_labels(f) / "labels/lesions_source/0/c/0/0/0", mask("source")
    ),
    "labels' coarser shard, verified": Flipped(
        lambda f: first_labels(f) / "labels/lesions/1/c/0/0/0", verified, WHOLE
    ),
    "labels' image metadata, verified": Flipped(
        lambda f: first_labels(f) / "labels/lesions/zarr.json", verified, WHOLE
    ),
    "labels' list, verified": Flipped(lambda f: first_labels(f) / "labels/zarr.json", verified, WHOLE),
    "labels' receipt": Flipped(receipt_of(first_labels), labels_receipt),
    "labels' receipt, verified": Flipped(receipt_of(first_labels), verified, WHOLE),
    **{
        f"model's {name}": Flipped(lambda f, name=name: model_folder(f) / name, model_file(name))  # type: ignore[misc]
        for name in ("model.onnx", "config.json", "README.md")
    },
    "model, verified": Flipped(lambda f: model_folder(f) / "model.onnx", verified, WHOLE),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_all_kinds(tmp_path_factory.mktemp("flips")).store)


def test_every_object_of_the_store_is_of_a_kind_that_is_flipped(store: Path) -> None:
    """Reports are drawn from a version and runs' records say how it came about; nothing reads them."""
    flipped_names = {case.find(store).relative_to(store).parts[0] for case in KINDS.values()}
    there = {path.relative_to(store).parts[0] for path in store.rglob("*") if path.is_file()}
    assert flipped_names == there - {"reports", "runs"}
    assert len(open_store(str(store)).volumes()) == 4
    assert SPLIT in split_record(store).name or SPLIT in split_record(store).parent.name


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_never_another_value(store: Path, kind: str, tally: TallyOf) -> None:
    case, rng = KINDS[kind], random.Random(f"{SEED} {kind}")
    path, expected = case.find(store), repr(case.observe(str(store)))
    data = path.read_bytes()
    refused = 0
    try:
        with tally(f"a flipped bit: {kind}", "disk") as count:
            for _ in range(case.flips):
                changed, what = flipped(data, rng)
                path.write_bytes(changed)
                with count.attempt(f"{path.name}: {what}"):
                    try:
                        found = case.observe(str(store))
                    except StoreError:
                        refused += 1
                        continue
                    assert repr(found) == expected
    finally:
        path.write_bytes(data)
    print(f"{kind}: {refused} of {case.flips} refused, the others change nothing that is read")
    # A summary and a split record that are damaged are made again from what they sum up.
    assert refused or kind.startswith(("summary", "split record, then"))
    assert repr(case.observe(str(store))) == expected

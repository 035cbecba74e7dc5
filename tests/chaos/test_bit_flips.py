"""Single bits flip in every kind of object: a reader gets the same values or a StoreError, never others.

A few flips of each kind here; 1,000 of each in `make chaos`. The places come from a seed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.core.config import Config
from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.store import open_store
from etl.store.layout import receipt_path
from etl.store.root import check_root
from etl.store.tags import write_tag
from etl.store.version_list import list_versions
from etl.verify.verify import verify
from tests.chaos.arena import LONG
from tests.chaos.conftest import TallyOf
from tests.regenerate_contract import contract_config
from tests.support.tiny_release import build_serial

pytestmark = pytest.mark.slow
FLIPS = 1000 if LONG else 6
# A verification takes as long as twenty readings.
VERIFIED_FLIPS = 2
SEED = 20261129


@dataclass(frozen=True)
class Flipped:
    """A kind of object whose bits flip.

    Attributes:
        find: its object in a store.
        observe: everything that a reader learns from it; raises where it is damaged.
    """

    find: Callable[[Path], Path]
    observe: Callable[[str], Any]


def first_volume(folder: Path) -> Path:
    return folder / open_store(str(folder)).version["volumes"][0]["path"]


def tables(store: str) -> Any:
    opened = open_store(store)
    return [opened.table(name).to_dict("list") for name in opened.version["tables"]]


def voxels(store: str) -> Any:
    opened = open_store(store)
    volume_id = opened.version["volumes"][0]["volume_id"]
    levels = [opened.volume(volume_id, level) for level in (0, 1)]
    return [(v.values.tolist(), v.attrs, {a: v[a].values.tolist() for a in "zyx"}) for v in levels]


def summaries(store: str) -> Any:
    listing = list_versions(open_objects(store))
    return listing.summaries(listing.numbers)


def root(store: str) -> Any:
    return check_root(open_objects(store))


def verified(store: str) -> Any:
    problems = verify(open_objects(store), 2).problems
    if problems:
        raise StoreError(str(problems[0]))


def table_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / open_store(str(folder)).version["tables"][name][0]["path"]


KINDS = {
    "version": Flipped(lambda f: f / "versions/000002.json", lambda s: open_store(s).version),
    "parent": Flipped(lambda f: f / "versions/000001.json", verified),
    "pinned version": Flipped(lambda f: f / "versions/000001.json", lambda s: open_store(s, 1).version),
    "tagged version": Flipped(lambda f: f / "versions/000001.json", lambda s: open_store(s, "paper").version),
    "tag": Flipped(lambda f: f / "versions/tags/paper.json", lambda s: open_store(s, "paper").version),
    "summary": Flipped(lambda f: f / "versions/summaries/000002.json", summaries),
    "root": Flipped(lambda f: f / "store.json", root),
    "root, verified": Flipped(lambda f: f / "store.json", verified),
    **{f"table {n}": Flipped(table_file(n), tables) for n in ("lesions", "volumes", "slices", "rejects")},
    "group metadata": Flipped(lambda f: first_volume(f) / "zarr.json", voxels),
    "level metadata": Flipped(lambda f: first_volume(f) / "1/zarr.json", voxels),
    "shard": Flipped(lambda f: first_volume(f) / "0/c/0/0/0", voxels),
    "coarser shard": Flipped(lambda f: first_volume(f) / "1/c/0/0/0", voxels),
    "shard, verified": Flipped(lambda f: first_volume(f) / "0/c/0/0/0", verified),
    "receipt": Flipped(lambda f: f / receipt_path(first_volume(f).relative_to(f).as_posix()), verified),
}


@pytest.fixture(scope="module")
def flipping(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A store of two versions, the first with a tag, and its config."""
    folder = tmp_path_factory.mktemp("flips")
    config = contract_config(folder, folder / "store")
    build_serial(config.model_copy(update={"volume": config.volume.model_copy(update={"antialias": False})}))
    build_serial(config)
    write_tag(open_objects(config.store), "paper", 1)
    shutil.rmtree(folder / "store" / "runs")
    return folder / "store", config


def flipped(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed), f"bit {bit} of byte {place}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_never_another_value(
    flipping: tuple[Path, Config], kind: str, tally: TallyOf
) -> None:
    folder, rng, case = flipping[0], random.Random(f"{SEED} {kind}"), KINDS[kind]
    path, expected = case.find(folder), case.observe(str(folder))
    data = path.read_bytes()
    try:
        with tally(f"a flipped bit: {kind}", "disk") as count:
            for _ in range(FLIPS if LONG or case.observe is not verified else VERIFIED_FLIPS):
                changed, what = flipped(data, rng)
                path.write_bytes(changed)
                with count.attempt(f"{path.name}: {what}"):
                    try:
                        found = case.observe(str(folder))
                    except StoreError:
                        continue
                    assert repr(found) == repr(expected)
    finally:
        path.write_bytes(data)


def test_a_flipped_receipt_is_never_published(flipping: tuple[Path, Config], tally: TallyOf) -> None:
    """The volume is converted again, to the same bytes, and the same version holds."""
    folder, config = flipping
    before = open_store(str(folder)).version
    receipts = [folder / receipt_path(entry["path"]) for entry in before["volumes"]]
    rng = random.Random(SEED)
    with tally("a flipped bit: receipt, then a build", "disk") as count:
        for _ in range(FLIPS):
            path = rng.choice(receipts)
            data = path.read_bytes()
            changed, what = flipped(data, rng)
            path.write_bytes(changed)
            with count.attempt(f"{path.name}: {what}"):
                again = build_serial(config)
                assert (again.converted, again.published.is_new) == (1, False)
                assert path.read_bytes() == data
    assert open_store(str(folder)).version == before

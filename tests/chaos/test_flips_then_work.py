"""Bits flip in what a job finds of an earlier one: nothing that was made of it is published."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.io.opening import open_objects
from etl.io.places import object_info
from etl.pipeline.derived_parts import PartLooker
from etl.publish.add_model import add_model
from etl.store import open_store
from etl.store.history import rollback
from etl.store.layout import receipt_path, summary_path, version_path
from etl.store.models import model_path
from tests.chaos.conftest import Tally, TallyOf
from tests.chaos.flips import FLIPS, SEED, flipped
from tests.regenerate_contract import contract_config
from tests.support.all_kinds import SPLIT, write_all_kinds
from tests.support.masked_store import with_masks
from tests.support.tiny_model import tiny_model
from tests.support.tiny_release import build_serial
from tests.support.toy_derivations import plane_means

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_all_kinds(tmp_path_factory.mktemp("flips"))


def flip_one_of(paths: Sequence[Path], rng: random.Random, count: Tally, work: Callable[[], None]) -> None:
    """Flip a bit of one of the files, work, and find the file as it was, again and again."""
    for _ in range(FLIPS):
        path = rng.choice(paths)
        data = path.read_bytes()
        changed, what = flipped(data, rng)
        path.write_bytes(changed)
        with count.attempt(f"{path.name}: {what}"):
            work()
            assert path.read_bytes() == data


def test_a_flipped_receipt_is_never_published(tmp_path: Path, tally: TallyOf) -> None:
    """The volume is converted again, to the same bytes, and the same version holds."""
    config = contract_config(tmp_path, tmp_path / "store", report=False)
    before, rng = build_serial(config).published.version, random.Random(SEED)
    receipts = [tmp_path / "store" / receipt_path(entry["path"]) for entry in before["volumes"]]

    def build_again() -> None:
        again = build_serial(config)
        assert (again.converted, again.published.is_new) == (1, False)

    with tally("a flipped bit: receipt, then a build", "disk") as count:
        flip_one_of(receipts, rng, count, build_again)
    assert open_store(config.store).version == before


def test_a_flipped_split_record_is_never_published(all_kinds: Config, tally: TallyOf) -> None:
    """The run is read again, and split again: the same volumes and the same record."""
    config, rng = all_kinds, random.Random(SEED)
    build_serial(config)
    before = open_store(config.store).version
    records = sorted(Path(config.store).glob(f"volumes/{SPLIT}_003-005/*.split.json"))
    originals = {path: path.read_bytes() for path in records}
    with tally("a flipped bit: split record, then a build", "disk") as count:
        for _ in range(FLIPS):
            changes = {path: flipped(data, rng) for path, data in originals.items()}
            for path, (changed, _) in changes.items():
                path.write_bytes(changed)
            with count.attempt(str([what for _, what in changes.values()])):
                assert not build_serial(config).published.is_new
                assert any(path.read_bytes() == data for path, data in originals.items())
            for path, data in originals.items():
                path.write_bytes(data)
    assert open_store(config.store).version == before


def test_a_flipped_receipt_of_labels_is_never_published(
    all_kinds: Config, tally: TallyOf, tmp_path: Path
) -> None:
    """The masks are read and written again, to the same bytes."""
    store, rng = Path(all_kinds.store), random.Random(SEED)
    before = open_store(all_kinds.store).version
    receipts = [store / receipt_path(entry["path"]) for entry in before["labels"]]

    def write_again() -> None:
        assert with_masks(all_kinds.store, tmp_path, level_count=2).version == before

    with tally("a flipped bit: labels' receipt, then add_annotations", "disk") as count:
        flip_one_of(receipts, rng, count, write_again)
    assert open_store(all_kinds.store).version == before


def test_a_flipped_file_of_a_killed_derivation_is_never_published(all_kinds: Config, tally: TallyOf) -> None:
    objects, rng = open_objects(all_kinds.store), random.Random(SEED)
    (entry,) = open_store(all_kinds.store).version["tables"]["planes"]
    path = Path(all_kinds.store, entry["path"])
    look, data = PartLooker(objects.root, plane_means().fingerprint), path.read_bytes()
    assert look(entry["path"]) is not None
    with tally("a flipped bit: file of a killed derivation, then another", "disk") as count:
        for _ in range(FLIPS):
            changed, what = flipped(data, rng)
            path.write_bytes(changed)
            with count.attempt(what):
                assert look(entry["path"]) is None
    path.write_bytes(data)


def test_a_flipped_model_of_a_killed_run_is_never_published(all_kinds: Config, tally: TallyOf) -> None:
    objects, rng, files = open_objects(all_kinds.store), random.Random(SEED), tiny_model()
    number = rollback(objects, 1, "without")[0]["version"]
    after = (version_path(number + 1), summary_path(number + 1))
    other = "brightness-00000000deadbeef"
    with tally("a flipped bit: model of a killed run, then another", "disk") as count:
        for _ in range(FLIPS):
            name = rng.choice(sorted(files))
            changed, what = flipped(files[name], rng)
            objects.write(f"{model_path('brightness', other)}/{name}", changed)
            with count.attempt(f"{name}: {what}"):
                version, is_new = add_model(objects, "brightness", other, files)
                entries = version["models"][0]["files"]
                assert is_new
                assert entries == [vars(object_info(n, files[n])) for n in sorted(files)]
                assert objects.read(f"{model_path('brightness', other)}/{name}") == files[name]
            for done in after:
                objects.remove(done)

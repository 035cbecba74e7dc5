"""Tags and dates: names of versions that a prune keeps, and what was current then."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from etl.commands.store_versions import main
from etl.core.config import Config
from etl.core.errors import ConfigError, GuardError, StoreError
from etl.io.opening import open_objects
from etl.store import open_store
from etl.store.layout import to_json, version_path
from etl.store.prune import prune
from etl.store.sealed import sealed
from etl.store.tags import read_tag, remove_tag, write_tag
from etl.store.version_list import choose_version, list_versions, parse_wanted
from etl.store.versions import publish_version, read_version, version_numbers
from etl.verify.verify import verify
from tests.store.test_versions import body


@pytest.fixture
def config(three_versions: Config) -> Config:
    return three_versions


def call(config: Config, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [config.store, *arguments])
    return done.exit_code, done.output


@pytest.mark.slow
def test_a_tagged_version_is_opened_by_its_name_and_kept_by_a_prune(config: Config) -> None:
    objects = open_objects(config.store)
    assert call(config, "tag", "paper-2026", "1") == (0, "version 1 has the tag paper-2026\n")
    assert call(config, "tag", "paper-2026", "1") == (0, "version 1 had already the tag paper-2026\n")
    assert open_store(config.store, version="paper-2026").version["version"] == 1
    assert "tag paper-2026" in call(config, "list")[1].splitlines()[1]
    dry = prune(objects, 1, 0, dry_run=True)
    found = prune(objects, 1, 0)
    assert found == dry
    assert (found.kept, found.versions, found.tags) == ((1, 3), (2,), {1: ("paper-2026",)})
    # The version between them was pruned, not lost.
    assert [verify(objects, number).problems for number in (1, 3)] == [(), ()]
    assert call(config, "rollback", "paper-2026")[1].startswith("version 4 is published: equal to version 1")
    assert call(config, "untag", "paper-2026") == (0, "the tag paper-2026 is removed\n")
    assert verify(objects, 4).problems == ()
    assert prune(objects, 1, 0).kept == (4,)
    assert verify(objects, 4).problems == ()


def test_a_tag_is_never_moved(config: Config) -> None:
    objects = open_objects(config.store)
    write_tag(objects, "paper", 1)
    with pytest.raises(GuardError, match="another version has this tag"):
        write_tag(objects, "paper", 2)
    assert call(config, "tag", "paper", "2")[0] == 3
    assert read_tag(objects, "paper").number == 1
    remove_tag(objects, "paper")
    assert write_tag(objects, "paper", 2)


@pytest.mark.parametrize("name", ["", "2026", "-x", "a b", "a/b", "../x", "ä", "x" * 65, "x.json", "a\n"])
def test_what_can_be_no_tag_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a tag"):
        write_tag(open_objects(str(tmp_path)), name, 1)
    assert not list(tmp_path.iterdir())


def test_an_exchanged_version_is_not_opened_by_its_tag(config: Config) -> None:
    objects = open_objects(config.store)
    write_tag(objects, "paper", 1)
    version = json.loads(objects.read(version_path(1)))
    objects.write(version_path(1), to_json(sealed(version | {"created_at": "2020-01-01T00:00:00+00:00"})))
    assert open_store(config.store, 1).version["version"] == 1
    for read in (lambda: open_store(config.store, "paper"), lambda: choose_version(objects, "paper")):
        with pytest.raises(StoreError, match="exchanged after it was tagged"):
            read()
    objects.remove(version_path(1))
    with pytest.raises(StoreError, match="no such version"):
        open_store(config.store, "paper")


def test_a_damaged_tag_stops_a_prune(config: Config) -> None:
    objects = open_objects(config.store)
    write_tag(objects, "paper", 1)
    path = Path(config.store, "versions", "tags", "paper.json")
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 3'))
    with pytest.raises(StoreError, match="the file of a tag is damaged") as caught:
        prune(objects, 1, 0)
    assert caught.value.where == str(path)
    assert version_numbers(objects) == [1, 2, 3]
    remove_tag(objects, "paper")
    assert write_tag(objects, "paper", 1)


def test_an_unknown_tag_names_the_known(config: Config) -> None:
    write_tag(open_objects(config.store), "paper", 1)
    with pytest.raises(StoreError, match="no such tag") as caught:
        open_store(config.store, "poster")
    assert "paper" in caught.value.allowed
    assert call(config, "untag", "poster")[0] == 2


def test_a_foreign_file_next_to_the_tags_is_no_tag(config: Config) -> None:
    objects = open_objects(config.store)
    write_tag(objects, "paper", 1)
    for name in ("README", "paper.json.bak", "paper.json.json", "2026.json", "old/paper.json"):
        objects.write(f"versions/tags/{name}", b"x")
    assert [tag.name for tag in list_versions(objects).tags()] == ["paper"]
    assert verify(objects, 1).problems == ()
    assert prune(objects, 1, 0).kept == (1, 3)
    assert call(config, "list")[0] == 0


def test_the_version_of_a_date(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    days = ("2026-01-05T10:00:00+00:00", "2026-01-05T20:00:00+00:00", "2026-03-01T00:30:00+00:00")
    for number, created_at in enumerate(days, 1):
        content = {**body(f"r{number}"), "created_at": created_at}
        publish_version(objects, content["run_id"], lambda parent, content=content: content)
    (tmp_path / "versions/summaries/000002.json").unlink()
    for as_of, expected in (
        ("2026-01-05", 2),
        ("2026-01-05T12:00", 1),
        ("2026-01-05T12:00+04:00", None),
        ("2026-01-05T14:00+04:00", 1),
        ("2026-02-28", 2),
        ("2026-03-01", 3),
        ("2027-01-01T00:00:00Z", 3),
        (datetime.datetime(2026, 1, 5, 20, tzinfo=datetime.UTC), 2),
        (datetime.date(2026, 2, 1), 2),
        ("20260301", 3),
        ("2026-W09-7", 3),
        ("2026W096", 2),
        ("2026-01-04", None),
    ):
        if expected is None:
            with pytest.raises(StoreError, match="nothing was published by then") as caught:
                open_store(tmp_path, as_of=as_of)
            assert f"{days[0]} or later" in str(caught.value)
        else:
            assert open_store(tmp_path, as_of=as_of).version["version"] == expected, as_of
    # A version that can't be read, or was removed, may be the one: no guess.
    objects.write(version_path(2), b"{")
    with pytest.raises(StoreError, match="may have been current then can't be read"):
        open_store(tmp_path, as_of="2026-02-01")
    for removed, unknown, known in ((2, ["2026-01-05T12:00", "2026-02-01"], 3), (1, ["2026-02-01"], 3)):
        objects.remove(version_path(removed))
        for as_of in unknown:
            with pytest.raises(StoreError, match="may have been current then was removed"):
                open_store(tmp_path, as_of=as_of)
        assert open_store(tmp_path, as_of="2026-03-01").version["version"] == known


@pytest.mark.parametrize(
    ("version", "as_of", "expected"),
    [(None, None, None), (3, None, 3), ("3", None, 3), (np.int64(3), None, 3), ("paper", None, "paper")],
)
def test_a_version_as_people_name_it(version: object, as_of: object, expected: object) -> None:
    assert parse_wanted(version, as_of) == expected


@pytest.mark.parametrize(
    ("version", "as_of"), [(1.0, None), (True, None), ([1], None), (None, "soon"), (1, "2026-01-01")]
)
def test_what_names_no_version(version: object, as_of: object) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        parse_wanted(version, as_of)


class Counted:
    """A store that counts what is asked of it."""

    def __init__(self, root: str) -> None:
        self._objects = open_objects(root)
        self.calls: dict[str, int] = {}
        self.bytes = 0

    def __getattr__(self, name: str) -> object:
        value = getattr(self._objects, name)
        if not callable(value):
            return value

        def counted(*arguments: object) -> object:
            self.calls[name] = self.calls.get(name, 0) + 1
            result = value(*arguments)
            self.bytes += len(result) if isinstance(result, bytes) else 0
            return result

        return counted


@pytest.mark.slow
def test_a_list_reads_kilobytes_however_many_volumes_a_version_has(tmp_path: Path) -> None:
    """365 versions of the release's 20,094 volumes are to read less than 2 MB and make one listing."""
    count, versions, most_bytes = 20_094, 2, 2_000_000 / 365
    volumes = [
        {"volume_id": f"{n:06d}", "path": f"volumes/{n:06d}/x.ome.zarr", "bytes": 1, "sha256": "0" * 64}
        for n in range(count)
    ]
    table = {"path": "tables/r/volumes/part-0.parquet", "bytes": 1, "sha256": "0" * 64, "rows": count}
    content = body("r")
    content = {
        **content,
        "counts": content["counts"] | {"volumes": count},
        "tables": content["tables"] | {"volumes": [table]},
        "volumes": volumes,
    }
    objects = open_objects(str(tmp_path))
    for number in range(versions):
        own = content | {"run_id": f"r{number}"}
        publish_version(objects, own["run_id"], lambda parent, own=own: own)
    counted = Counted(str(tmp_path))
    listing = list_versions(counted)  # type: ignore[arg-type]
    summaries = listing.summaries(listing.numbers)
    listing.tags()
    assert [s["volumes"] for s in summaries] == [count] * versions
    assert counted.calls == {"listed": 1, "read": versions}
    assert counted.bytes / versions < most_bytes / 4
    # One that is damaged, or of another file, is not believed.
    path = tmp_path / "versions/summaries/000001.json"
    path.write_bytes(path.read_bytes().replace(b"20094", b"20095"))
    assert listing.summaries([1])[0]["volumes"] == count
    assert read_version(objects, 1)["counts"]["volumes"] == count  # type: ignore[index]

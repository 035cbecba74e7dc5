"""A folder that belongs to something else is no store: builds and verification refuse it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.commands.verify_store import main as verify_job
from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.store.layout import root_metadata
from etl.store.root import check_root, refuse_foreign
from tests.support.three_volumes import PRESENT, ROWS, files_of
from tests.support.tiny_release import build_serial, tiny_config, write_release

V1 = Path(__file__).parents[1] / "contract" / "store_v1"
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {"title": "somebody's images"}}


@pytest.mark.parametrize("name", ["zarr.json", "store.json"])
def test_a_foreign_root_is_refused_by_build_and_verification(tmp_path: Path, name: str) -> None:
    write_release(tmp_path, PRESENT, ROWS)
    config = tiny_config(tmp_path, tmp_path / "store")
    Path(config.store).mkdir()
    Path(config.store, name).write_text(json.dumps(GROUP))
    before = files_of(config.store)
    with pytest.raises(StoreError, match="belongs to something else") as caught:
        build_serial(config)
    assert caught.value.where.endswith(f"store/{name}")
    assert files_of(config.store) == before
    done = CliRunner().invoke(verify_job, [config.store])
    assert isinstance(done.exception, StoreError) or done.exit_code == 2


def test_a_store_of_each_contract_and_an_empty_folder_are_none(tmp_path: Path) -> None:
    check_root(open_objects(str(V1)))
    check_root(open_objects(str(tmp_path / "nothing")))
    (tmp_path / "store.json").write_bytes(root_metadata())
    check_root(open_objects(str(tmp_path)))


@pytest.mark.parametrize("number", range(0, 8 * 40, 13))
def test_a_flipped_bit_in_the_root_stops_a_build(tmp_path: Path, number: int) -> None:
    data = bytearray(root_metadata())
    data[(number * 17) % (len(data) - 2)] ^= 1 << number % 8
    (tmp_path / "store.json").write_bytes(data)
    if json_of(data) == json.loads(root_metadata()):
        return
    with pytest.raises(StoreError, match=r"store.json"):
        check_root(open_objects(str(tmp_path)))


def json_of(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_what_is_no_json_is_damage_and_not_somebody_s(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_bytes(b"{")
    (tmp_path / "store.json").write_bytes(b"{")
    refuse_foreign(open_objects(str(tmp_path)))
    with pytest.raises(StoreError, match="damaged"):
        check_root(open_objects(str(tmp_path)))

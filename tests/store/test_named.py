"""Labels and models that a version names are checked, carried on, verified and pruned as volumes are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.core.config import Config
from etl.core.errors import GuardError
from etl.io.opening import open_objects
from etl.io.places import object_info
from etl.store.history import missing_objects, rollback
from etl.store.layout import receipt_path, to_json
from etl.store.named import files_of, groups_of, stored_bytes
from etl.store.prune import prune
from etl.store.reader import open_store
from etl.store.sealed import sealed
from etl.store.version_file import faults
from etl.store.versions import new_run_id, now_text, publish_version, read_version
from etl.verify.verify import verify
from tests.support.three_volumes import PRESENT, ROWS, variant
from tests.support.tiny_release import build_serial, written

MODEL = "detector-0123456789abcdef"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The config of a store whose second version has labels of two volumes and a model."""
    config = written(tmp_path, PRESENT, ROWS)
    version = build_serial(config).published.version
    objects, run_id = open_objects(config.store), new_run_id()
    labels = []
    for entry in version["volumes"][:2]:
        path = f"labels/{entry['volume_id']}/{'ab' * 8}.ome.zarr"
        items = [object_info(name, name.encode()) for name in ("zarr.json", "0/zarr.json", "0/c/0/0/0")]
        for item in items:
            objects.write(f"{path}/{item.path}", item.path.encode())
        receipt = to_json(
            sealed(
                {
                    "contract_version": 2,
                    "objects": [{"path": i.path, "bytes": i.bytes, "sha256": i.sha256} for i in items],
                }
            )
        )
        objects.write(receipt_path(path), receipt)
        labels.append(
            {
                "volume_id": entry["volume_id"],
                "path": path,
                "bytes": len(receipt) + sum(item.bytes for item in items),
                "sha256": object_info("", receipt).sha256,
            }
        )
    objects.write(f"models/detector/{MODEL}/weights.onnx", b"weights")
    weights = object_info("weights.onnx", b"weights")
    model = {
        "name": "detector",
        "model_id": MODEL,
        "path": f"models/detector/{MODEL}",
        "files": [{"path": "weights.onnx", "bytes": weights.bytes, "sha256": weights.sha256}],
    }
    body = {**version, "run_id": run_id, "created_at": now_text(), "labels": labels, "models": [model]}
    publish_version(objects, run_id, lambda parent: body)
    return config


def names(version: Any) -> tuple[int, int]:
    return len(version.get("labels", ())), len(version.get("models", ()))


def test_they_are_part_of_the_version(config: Config) -> None:
    objects = open_objects(config.store)
    version = open_store(config.store).version
    assert len(groups_of(version)) == 3 + 2
    assert files_of(version)[-1].path == f"models/detector/{MODEL}/weights.onnx"
    assert stored_bytes(version) > stored_bytes(open_store(config.store, 1).version)
    assert verify(objects, 2).problems == ()
    assert missing_objects(objects, version) == []


def test_a_build_carries_them_on_while_their_volumes_are_the_same(config: Config) -> None:
    data = config.model_dump()
    data["select"]["patients"] = (1,)
    data["limits"] |= {"allow_fewer_volumes": True, "allow_fewer_lesions": True}
    version = build_serial(Config.model_validate(data)).published.version
    assert (len(version["volumes"]), names(version)) == (2, (2, 1))
    other = build_serial(variant(config, volume={"spacing_mm": 2.0})).published.version
    assert names(other) == (0, 1)
    assert verify(open_objects(config.store), other["version"]).problems == ()


def test_a_rollback_brings_them_back_or_refuses(config: Config) -> None:
    objects = open_objects(config.store)
    build_serial(variant(config, volume={"spacing_mm": 2.0}))
    version, is_new = rollback(objects, 2, "back")
    assert (is_new, names(version)) == (True, (2, 1))
    assert rollback(objects, 2, "again")[1] is False
    assert names(rollback(objects, 1, "first")[0]) == (0, 0)
    objects.remove(f"models/detector/{MODEL}/weights.onnx")
    with pytest.raises(GuardError, match=r"weights.onnx: missing"):
        rollback(objects, 2, "back")


def test_a_prune_keeps_them_while_a_version_that_stays_names_them(config: Config) -> None:
    objects, folder = open_objects(config.store), Path(config.store)
    for foreign in ("models/notes.txt", "labels/mine/x/zarr.json", f"models/detector/{MODEL}.txt"):
        objects.write(foreign, b"mine")
    prune(objects, 1, 0)
    assert verify(objects, 2).problems == ()
    build_serial(variant(config, volume={"spacing_mm": 2.0}))
    found = prune(objects, 1, 0)
    assert [len(found.units[name]) for name in ("labels", "models")] == [2, 0]
    assert not list(folder.glob("labels/*/*.receipt.json"))
    version = {k: v for k, v in read_version(objects).items() if k != "models"}  # type: ignore[union-attr]
    publish_version(objects, "less", lambda parent: version | {"run_id": "less"})
    assert len(prune(objects, 1, 0).units["models"]) == 1
    left = sorted(
        p.relative_to(folder).as_posix() for f in ("labels", "models") for p in (folder / f).rglob("*.*")
    )
    assert left == ["labels/mine/x/zarr.json", f"models/detector/{MODEL}.txt", "models/notes.txt"]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped label": (
        lambda s: next(s.glob("labels/*/*/0/c/0/0/0")).write_bytes(b"0/c/0/0/1"),
        "SHA-256 is wrong",
    ),
    "label cut": (lambda s: next(s.glob("labels/*/*/zarr.json")).write_bytes(b"x"), "size is wrong"),
    "label lost": (lambda s: next(s.glob("labels/*/*/0/zarr.json")).unlink(), "is missing"),
    "stray object": (
        lambda s: (next(s.glob("labels/*/*.ome.zarr")) / "stray").write_bytes(b""),
        "is no part of these labels",
    ),
    "receipt lost": (lambda s: next(s.glob("labels/*/*.receipt.json")).unlink(), "is missing"),
    "receipt changed": (
        lambda s: next(s.glob("labels/*/*.receipt.json")).write_bytes(b"{}"),
        "can't be read",
    ),
    "model changed": (
        lambda s: (s / f"models/detector/{MODEL}/weights.onnx").write_bytes(b"WEIGHTS"),
        "SHA-256 is wrong",
    ),
    "model lost": (lambda s: (s / f"models/detector/{MODEL}/weights.onnx").unlink(), "is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verification_finds_damage(config: Config, name: str) -> None:
    DAMAGE[name][0](Path(config.store))
    (problem,) = verify(open_objects(config.store), 2).problems
    assert problem.what == DAMAGE[name][1]
    assert problem.where.startswith(("labels/", "models/"))


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("labels", {"path": "labels/x.ome.zarr"}, "labels.0.path: "),
        ("labels", {"volume_id": "000009_01_01_001-002"}, "which the version does not have"),
        ("models", {"path": "models/other"}, "of model"),
        ("models", {"files": []}, "models.0.files: "),
        ("models", {"model_id": "../x"}, "models.0.model_id: "),
    ],
)
def test_the_version_file_s_check_covers_them(
    config: Config, key: str, change: dict[str, Any], words: str
) -> None:
    version = dict(open_store(config.store).version)
    assert list(faults(version, 2)) == []
    version[key] = [version[key][0] | change]
    assert words in "; ".join(faults(sealed(version), 2))

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import GuardError
from etl.io.opening import open_objects
from etl.publish.assemble import Counts
from etl.publish.guards import check_rejects
from etl.publish.publish import publish
from etl.store.layout import version_path
from etl.store.sealed import sealed
from etl.store.versions import new_run_id, read_version
from tests.support.three_volumes import FIRST, PRESENT, ROWS, converted, files_of, variant
from tests.support.tiny_release import build_serial, csv_row, tiny_config, write_release


def refused(config: Config, *named: str) -> None:
    before = files_of(config.store, "versions"), files_of(config.store, "tables")
    plan, conversions = converted(config)
    with pytest.raises(GuardError) as caught:
        publish(open_objects(config.store), config, plan, conversions, new_run_id())
    assert caught.value.exit_code == 3
    assert [text for text in named if text not in str(caught.value)] == []
    assert (files_of(config.store, "versions"), files_of(config.store, "tables")) == before


def test_too_many_rejected_rows_refuse_until_the_limit_is_raised(release: Path, tmp_path: Path) -> None:
    rows = (*ROWS, csv_row(FIRST, 3, (3, 5), Patient_gender="X"))
    write_release(release, PRESENT, rows)
    config = tiny_config(release, tmp_path / "store", limits={"rejects": 0.2499})
    refused(
        config,
        "rows",
        "where:   DL_info.csv row 3",
        "(unknown_sex)",
        "1 of 4 (25.00%)",
        "unknown_sex 1",
        "24.99%",
        "--set limits.rejects=",
    )
    assert read_version(open_objects(config.store)) is None
    built = build_serial(variant(config, limits={"rejects": 0.25}))
    assert (built.converted, built.published.counts.rows_rejected) == (0, 1)


def test_rows_without_their_key_slice_are_named_too(release: Path, tmp_path: Path) -> None:
    write_release(release, PRESENT | {FIRST: [3, 5]}, [csv_row(FIRST, 4, (3, 5)), ROWS[2]])
    config = tiny_config(release, tmp_path / "store", limits={"rejects": 0.4})
    refused(config, "rows", "where:   DL_info.csv row 0", "(key_slice_missing)", "1 of 2 (50.00%)")


def test_too_many_missing_or_rejected_slices_refuse_until_the_limit_is_raised(
    release: Path, tmp_path: Path
) -> None:
    write_release(release, PRESENT | {FIRST: [3, 5, 7]}, [csv_row(FIRST, 3, (3, 7)), ROWS[2]])
    config = tiny_config(release, tmp_path / "store", limits={"rejects": 0.28})
    refused(config, "slices", "2 of 7 (28.57%)", "slice_missing 2", "28.00%", "--set limits.rejects=")
    assert build_serial(variant(config, limits={"rejects": 0.29})).published.is_new


def test_the_limit_on_rejects_counts_shares_of_what_is_selected() -> None:
    counts = Counts(
        volumes=1,
        patients=1,
        lesions=99,
        rows_rejected=1,
        rows_not_selected=9999,
        rows_found=10099,
        slices=0,
        slices_rejected=0,
        slices_not_selected=5,
        slices_found=5,
        slices_missing=0,
        rejects_by_reason={"unknown_sex": 1},
    )
    limits = Config.model_fields["limits"].default
    check_rejects(counts, limits)
    with pytest.raises(GuardError, match=r"1 of 100 \(1\.00%\)"):
        check_rejects(counts, limits.model_copy(update={"rejects": 0.0099}))
    too_large = dataclasses.replace(counts, rejects_by_reason={"volume_too_large": 1})
    with pytest.raises(GuardError, match="remedy:  give each worker more memory"):
        check_rejects(too_large, limits.model_copy(update={"rejects": 0.0099}))


def test_a_lost_archive_refuses_until_it_is_back_or_allowed_by_name(
    config: Config, release: Path, tmp_path: Path
) -> None:
    """Nobody knows what it holds: its rows would be those of a series that is in no given archive."""
    write_release(tmp_path / "other", {"000003_01_01": [1, 2]}, [*ROWS, csv_row("000003_01_01", 1, (1, 2))])
    whole = (tmp_path / "other" / "Images_png_01.zip").read_bytes()
    lost = release / "Images_png_02.zip"
    lost.write_bytes(b"<html>sign in</html>")
    archives = tuple(str(release / f"Images_png_0{number}.zip") for number in (1, 2))
    annotations = str(tmp_path / "other" / "DL_info.csv")
    config = variant(config, source={"archives": archives, "annotations": annotations})
    words = ("1 of 2: Images_png_02.zip (archive_not_zip)", "limits.lost_archives = 0")
    refused(config, *words, "source.archives", "--set limits.lost_archives=1")
    lost.write_bytes(whole)
    assert build_serial(config).published.counts.lesions == 4

    elsewhere = config.model_copy(update={"store": str(tmp_path / "allowed")})
    lost.write_bytes(b"")
    built = build_serial(variant(elsewhere, limits={"lost_archives": 1})).published
    assert (built.counts.lesions, built.counts.rows_not_selected) == (3, 1)
    assert built.version["config"]["limits"]["lost_archives"] == 1


def test_fewer_volumes_refuse_until_allowed_by_name(config: Config) -> None:
    build_serial(config)
    fewer = variant(config, select={"limit": 2}, limits={"allow_fewer_lesions": True})
    refused(fewer, "fewer volumes than version 1", "2, before 3", "limits.allow_fewer_volumes=true")
    allowed = variant(fewer, limits={"allow_fewer_volumes": True})
    assert build_serial(allowed).published.version["version"] == 2


def test_fewer_lesions_refuse_until_allowed_by_name(config: Config, release: Path) -> None:
    write_release(release, PRESENT, [*ROWS, csv_row(FIRST, 5, (3, 5))])
    build_serial(config)
    write_release(release, PRESENT, ROWS)
    refused(config, "fewer lesions than version 1", "3, before 4", "limits.allow_fewer_lesions=true")
    assert (
        build_serial(variant(config, limits={"allow_fewer_lesions": True})).published.version["parent"] == 1
    )


def reorder(schemas: dict[str, list[list[str]]]) -> None:
    schemas["lesions"].append(schemas["lesions"].pop(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda schemas: schemas["lesions"].remove(["sex", "string"]), "lesions: added sex string"),
        (lambda schemas: schemas["lesions"].insert(0, ["extra", "int32"]), "lesions: dropped extra int32"),
        (
            lambda schemas: schemas["lesions"][0].__setitem__(1, "int64"),
            "lesions: retyped lesion_id int64 -> int32",
        ),
        (reorder, "lesions: the same columns in another order"),
    ],
    ids=["column added", "column removed", "type changed", "reordered"],
)
def test_a_changed_schema_refuses_until_allowed_by_name(
    config: Config, change: Callable[[dict[str, list[list[str]]]], object], message: str
) -> None:
    version = dict(build_serial(config).published.version)
    change(version["schemas"])
    Path(config.store, version_path(1)).write_text(json.dumps(sealed(version)))
    changed = variant(config, volume={"spacing_mm": 2.0})
    refused(changed, "schema of lesions", "version 1", message, "limits.allow_schema_change=true")
    assert (
        build_serial(variant(changed, limits={"allow_schema_change": True})).published.version["parent"] == 1
    )


def test_a_table_that_would_vanish_is_a_changed_schema(config: Config) -> None:
    version = dict(build_serial(config).published.version)
    version["schemas"]["segmentations"], version["tables"]["segmentations"] = [["lesion_id", "int32"]], []
    Path(config.store, version_path(1)).write_text(json.dumps(sealed(version)))
    message = "segmentations: the table is dropped"
    refused(variant(config, volume={"spacing_mm": 2.0}), "schema of segmentations", message)


def test_a_release_of_which_nothing_can_be_read_is_refused(release: Path, tmp_path: Path) -> None:
    archive = release / "Images_png_01.zip"
    archive.write_bytes(archive.read_bytes().replace(b"\x89PNG", b"\x89GNP"))
    config = tiny_config(release, tmp_path / "store", limits={"rejects": 0.99})
    refused(config, "3 of 3", "key_slice_rejected 3", "slice_crc_mismatch 6")
    refused(variant(config, limits={"rejects": 1.0}), "not one volume", "slice_crc_mismatch 6")

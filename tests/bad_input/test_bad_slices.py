"""Bad slices: each is one reject and splits its run, and everything else is still built."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from etl.core.config import Limits
from etl.core.errors import GuardError
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from tests.support.workshop import FIRST_VOLUME, Outcome, Workshop, zipped

SERIES = "000001_01_01"


def png(pixels: np.ndarray) -> bytes:
    data: bytes = imageio.imwrite("<bytes>", pixels, plugin="pillow", extension=".png")
    return data


def without_its_checksum(data: bytes) -> bytes:
    """A PNG whose pixel data is damaged inside an archive that does not know."""
    at = data.index(b"IDAT") + 100
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": ("slice_truncated", lambda data: data[: len(data) // 2]),
    "empty": ("slice_not_png", lambda data: b""),
    "not a PNG": ("slice_not_png", lambda data: b"\xff\xd8\xff\xe0" + data[4:]),
    "damaged inside": ("slice_crc_mismatch", without_its_checksum),
    "8-bit": ("slice_not_16bit_grey", lambda data: png(np.zeros((512, 512), np.uint8))),
    "RGB": ("slice_not_16bit_grey", lambda data: png(np.zeros((512, 512, 3), np.uint8))),
    "other size": ("slice_size_mismatch", lambda data: png(np.zeros((512, 256), np.uint16))),
    "larger": ("slice_size_mismatch", lambda data: png(np.zeros((768, 768), np.uint16))),
}


def assert_all_else_is_built(outcome: Outcome, workshop: Workshop) -> None:
    clean = {name: mark for name, mark in workshop.clean.fingerprints.items() if name != FIRST_VOLUME}
    assert {name: mark for name, mark in outcome.fingerprints.items() if name[:12] != SERIES} == clean
    assert outcome.build.published.counts.slices_found == 50


@pytest.mark.slow
@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_slice_splits_its_run(workshop: Workshop, form: str, damage: str) -> None:
    reason, spoil = DAMAGE[damage]
    slices = workshop.slices()
    slices[f"{SERIES}/112.png"] = spoil(slices[f"{SERIES}/112.png"])
    if form == "archive":
        workshop.write_archives(zipped(slices))
    else:
        workshop.write_images(slices)
    outcome = workshop.build()
    where = "0.zip" if form == "archive" else "images"
    assert outcome.rejects == [("slice", reason, f"{where}: {SERIES}/112.png")]
    assert list(outcome.fingerprints)[:2] == [f"{SERIES}_103-111", f"{SERIES}_113-115"]
    assert outcome.lesion_ids == workshop.clean.lesion_ids
    assert outcome.build.converted == 2
    assert_all_else_is_built(outcome, workshop)


@pytest.mark.slow
def test_a_bad_key_slice_takes_its_lesion_along(workshop: Workshop) -> None:
    slices = workshop.slices()
    slices[f"{SERIES}/109.png"] = b"oops"
    workshop.write_archives(zipped(slices))
    outcome = workshop.build()
    assert outcome.rejects == [
        ("row", "key_slice_rejected", "DL_info.csv row 2: 000001_01_01_109.png"),
        ("slice", "slice_not_png", f"0.zip: {SERIES}/109.png"),
    ]
    assert "slice_not_png" in outcome.message("key_slice_rejected")
    lesions = outcome.store.lesions().set_index("lesion_id")
    assert lesions["volume_id"].to_dict() == {
        0: f"{SERIES}_103-108",
        1: f"{SERIES}_103-108",
        3: "000002_01_01_020-032",
        4: "000002_01_01_034-045",
        5: "000002_02_01_008-019",
    }
    assert lesions["z_mm"].to_dict()[0] == 5 * 5.0
    volumes = outcome.store.volumes().set_index("volume_id")["lesion_count"].to_dict()
    assert (volumes[f"{SERIES}_103-108"], volumes[f"{SERIES}_110-115"]) == (2, 0)
    slices_built = outcome.store.slices().query("patient_index == 1")["slice_index"].tolist()
    assert slices_built == [*range(103, 109), *range(110, 116)]
    assert_all_else_is_built(outcome, workshop)


@pytest.mark.slow
def test_a_second_build_reuses_both_sides_of_a_bad_slice(workshop: Workshop) -> None:
    slices = workshop.slices()
    slices[f"{SERIES}/109.png"] = b"oops"
    workshop.write_archives(zipped(slices))
    first = workshop.build()
    second = workshop.build()
    assert (first.build.converted, second.build.converted, second.build.reused) == (2, 0, 5)
    assert not second.build.published.is_new
    assert second.store.version == first.store.version

    # Receipts older than what they prove, as in a copy: the volumes are read before they are reused.
    for receipt in Path(first.store.objects.root).glob("volumes/*/*.receipt.json"):
        os.utime(receipt, (0, 0))
    third = workshop.build()
    assert (third.build.converted, third.build.reused, third.build.published.is_new) == (0, 5, False)


@pytest.mark.slow
def test_both_sides_are_the_volumes_that_a_missing_slice_gives(workshop: Workshop) -> None:
    slices = workshop.slices()
    slices[f"{SERIES}/109.png"] = b"oops"
    workshop.write_archives(zipped(slices))
    bad = workshop.build()
    del slices[f"{SERIES}/109.png"]
    workshop.write_archives(zipped(slices))
    absent = workshop.build()
    assert absent.fingerprints == bad.fingerprints
    assert absent.build.converted == 0
    assert absent.rejects == [
        ("row", "key_slice_missing", "DL_info.csv row 2: 000001_01_01_109.png"),
        ("slice", "slice_missing", "DL_info.csv row 0: 000001_01_01_109.png"),
    ]


def test_bad_slices_at_the_ends_and_side_by_side(workshop: Workshop) -> None:
    slices = workshop.slices()
    for index in (103, 106, 107, 115):
        slices[f"{SERIES}/{index}.png"] = b"oops"
    workshop.write_archives(zipped(slices))
    outcome = workshop.build()
    assert [name for name in outcome.fingerprints if name.startswith(SERIES)] == [
        f"{SERIES}_104-105",
        f"{SERIES}_108-114",
    ]
    assert [found_in for _, _, found_in in outcome.rejects] == [
        f"0.zip: {SERIES}/{index}.png" for index in (103, 106, 107, 115)
    ]
    assert_all_else_is_built(outcome, workshop)


def test_a_run_without_a_good_slice_gives_no_volume(workshop: Workshop) -> None:
    slices = workshop.slices() | dict.fromkeys(workshop.slices(SERIES), b"oops")
    workshop.write_archives(zipped(slices))
    outcome = workshop.build()
    assert [kind for kind, _, _ in outcome.rejects] == ["row"] * 3 + ["slice"] * 13
    assert_all_else_is_built(outcome, workshop)
    again = workshop.build()
    assert again.build.converted == 0
    assert not again.build.published.is_new


def test_a_release_without_a_good_slice_is_refused(workshop: Workshop) -> None:
    workshop.write_archives(zipped(dict.fromkeys(workshop.slices(), b"oops")))
    config = workshop.config().model_copy(update={"limits": Limits()})
    plan = load_plan(config)
    with pytest.raises(GuardError, match=r"limits\.rejects"):
        build(config, plan, SerialExecutor())
    assert not workshop.is_published


def test_a_promised_slice_that_is_absent_splits_its_run(workshop: Workshop) -> None:
    slices = workshop.slices()
    del slices[f"{SERIES}/112.png"]
    workshop.write_archives(zipped(slices))
    outcome = workshop.build()
    assert outcome.rejects == [("slice", "slice_missing", "DL_info.csv row 0: 000001_01_01_112.png")]
    assert list(outcome.fingerprints)[:2] == [f"{SERIES}_103-111", f"{SERIES}_113-115"]
    assert outcome.lesion_ids == workshop.clean.lesion_ids


def test_a_range_that_is_absent_beside_one_that_is_rejected_is_reported(workshop: Workshop) -> None:
    slices = workshop.slices("000001", "000002_02_01")
    slices |= {name: data for name, data in workshop.slices("000002_01_01").items() if name[-7:] < "033.png"}
    workshop.write_archives(zipped(slices))
    rows = workshop.rows
    rows[3] |= {"Slice_range": "20, 32"}
    rows[4] |= {"Slice_range": "34, 45"}
    workshop.write_csv([*rows, rows[3] | {"Spacing_mm_px_": "0.859375, 0.859375, 1"}])
    outcome = workshop.build()
    reasons = outcome.build.published.counts.rejects_by_reason
    assert reasons == {"key_slice_missing": 1, "run_disagrees": 1 + 2 + 13, "slice_missing": 12}


def test_a_checksum_that_an_archive_s_data_has_not(workshop: Workshop) -> None:
    archive = bytearray(zipped(workshop.slices()))
    at = archive.index(f"Images_png/{SERIES}/109.png".encode()) + 5000
    archive[at] ^= 1
    workshop.forget(FIRST_VOLUME)
    workshop.write_archives(bytes(archive))
    outcome = workshop.build()
    assert outcome.rejects == [
        ("row", "key_slice_rejected", "DL_info.csv row 2: 000001_01_01_109.png"),
        ("slice", "slice_crc_mismatch", f"0.zip: {SERIES}/109.png"),
    ]
    assert f"{zlib.crc32(workshop.slices()[f'{SERIES}/109.png']):08x}" in outcome.message(
        "slice_crc_mismatch"
    )
    assert_all_else_is_built(outcome, workshop)


@pytest.mark.slow
def test_an_archive_fetched_again_is_built_whole(workshop: Workshop) -> None:
    whole = zipped(workshop.slices())
    damaged = bytearray(whole)
    # The length of the name in the local header: the directory, which fingerprints come from, stays as it is.
    header = whole.index(f"Images_png/{SERIES}/109.png".encode()) - 30
    struct.pack_into("<H", damaged, header + 26, 3)
    workshop.forget(FIRST_VOLUME)
    workshop.write_archives(bytes(damaged))
    split = workshop.build()
    assert split.build.converted == 2
    assert [reason for kind, reason, _ in split.rejects if kind == "slice"] == ["member_name_unexpected"]
    workshop.write_archives(whole)
    healed = workshop.build()
    assert healed.rejects == []
    assert healed.build.converted == 1
    assert healed.fingerprints == workshop.clean.fingerprints

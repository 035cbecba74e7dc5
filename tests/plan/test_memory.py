"""The estimated peak memory of a conversion: never below the real one, and close to it for large volumes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from etl.convert.convert import encoding_of
from etl.convert.pixels import decode_slice
from etl.core.config import Codec, Volume
from etl.imaging.hounsfield import to_hu
from etl.imaging.resample import resample, task_memory_bytes
from etl.phantom import encode_png
from etl.plan.memory import conversion_bytes
from etl.release.index import SLICE_DTYPE
from etl.release.slices import SPAN_BYTES, held_bytes
from etl.store.volumes import blosc, encode_levels
from tests.support.memory import traced_peak_bytes

IMAGE = (512, 512)
HEADER_BYTES = 50


def rows(count: int, file_bytes: int, *, in_archive: bool) -> np.ndarray:
    slices = np.zeros(count, SLICE_DTYPE)
    slices["index"] = np.arange(count)
    slices["bytes"] = slices["stored_bytes"] = file_bytes
    if in_archive:
        slices["offset"] = 1000 + np.arange(count) * (file_bytes + HEADER_BYTES)
        slices["end"] = slices["offset"] + file_bytes + HEADER_BYTES
    else:
        slices["end"] = file_bytes
    return slices


def needed(
    slices: np.ndarray, volume: Volume | None = None, *, in_bucket: bool = False, planes: int = 400
) -> int:
    spacing = (1.0, 0.8, 0.8)
    source = (len(slices), *IMAGE)
    made = volume or Volume()
    return conversion_bytes(
        slices, source, spacing, (planes, 410, 410), (1.0, 1.0, 1.0), made, in_bucket=in_bucket
    )


def test_a_folder_s_files_are_held_one_by_one() -> None:
    assert held_bytes(rows(300, 250_000, in_archive=False)) == 250_000
    assert held_bytes(rows(0, 0, in_archive=False)) == 0


def test_an_archive_is_held_in_spans() -> None:
    few = rows(40, 250_000, in_archive=True)
    assert held_bytes(few) == 250_000 + 40 * (250_000 + HEADER_BYTES)
    many = rows(1000, 250_000, in_archive=True)
    assert SPAN_BYTES < held_bytes(many) < SPAN_BYTES + 3 * 250_000


def test_spans_that_are_needed_by_turns_are_held_together() -> None:
    members = rows(600, 250_000, in_archive=True)
    by_turns = members[np.arange(600).reshape(2, 300).T.ravel()]
    assert held_bytes(by_turns) > 1.9 * held_bytes(members)


def test_slices_may_lie_in_folders_and_archives() -> None:
    mixed = np.concatenate([rows(5, 100_000, in_archive=False), rows(40, 250_000, in_archive=True)])
    assert held_bytes(mixed) == held_bytes(rows(40, 250_000, in_archive=True))


def test_what_is_encoded_follows_the_noise_of_the_slices() -> None:
    quiet, usual, loud = (rows(400, size, in_archive=False) for size in (20_000, 230_000, 500_000))
    voxels = 400 * 410 * 410
    fixed = needed(usual) - 230_000 - int(1.25 * 230_000 / 512**2 * voxels)
    # Never less than half a byte a pixel is taken to be noise, and never more than all of a voxel.
    assert needed(quiet) - 20_000 - fixed == pytest.approx(0.625 * voxels, abs=2)
    assert needed(loud) - 500_000 - fixed == pytest.approx(2 * voxels, abs=2)


@pytest.mark.parametrize(
    ("codec", "share"),
    [
        ({"name": "zstd", "shuffle": "shuffle"}, 1.0),
        ({"name": "lz4", "shuffle": "bitshuffle"}, 1.2),
        ({"name": "zstd", "shuffle": "noshuffle"}, None),
    ],
)
def test_other_codecs_leave_more(codec: dict[str, Any], share: float | None) -> None:
    slices, voxels = rows(400, 230_000, in_archive=False), 400 * 410 * 410
    usual = 1.25 * 230_000 / 512**2
    more = (2 if share is None else share * usual) - usual
    found = needed(slices, Volume(codec=Codec(**codec))) - needed(slices)
    assert found == pytest.approx(more * voxels, abs=2)


def test_every_level_has_chunks_and_a_shard_of_its_own() -> None:
    slices = rows(400, 230_000, in_archive=False)
    first, second = (needed(slices, Volume(pyramid_levels=levels)) for levels in (1, 2))
    layer, halving, chunks = 2 * 64 * 256 * 256, 4 * 2 * 410 * 410, 240 * 4 * 4 * 4
    encoded = 1.25 * 230_000 / 512**2 * 200 * 205 * 205
    assert second - first == pytest.approx(layer + halving + chunks + encoded, abs=2)


def test_small_chunks_take_more_than_their_bytes() -> None:
    shape, spacing, volume = (24, 128, 128), (1.0, 1.0, 1.0), Volume(chunk=(4, 4, 4))
    planes = np.random.default_rng(1).normal(0, 40, shape).astype(np.int16)
    slices = rows(shape[0], int(1.39 * math.prod(shape[1:])), in_archive=False)
    estimated = conversion_bytes(slices, shape, spacing, shape, spacing, volume, in_bucket=False)
    assert traced_peak_bytes(lambda: encode_levels(planes, shape, 1, encoding_of(volume)), 2) < estimated


def test_a_slice_is_decoded_while_chunks_are_held() -> None:
    volume, spacing = Volume(chunk=(4, 64, 64), spacing_mm="native"), (1.0, 0.8, 0.8)
    noise = np.random.default_rng(1).normal(32768, 40, IMAGE).astype(np.uint16)
    file, shape = encode_png(noise), (1, *IMAGE)
    slices = rows(1, len(file), in_archive=False)
    estimated = conversion_bytes(slices, shape, spacing, shape, spacing, volume, in_bucket=False)

    def convert() -> None:
        arriving = (to_hu(decode_slice(bytes(bytearray(file)), IMAGE)) for _ in range(1))
        clipped = resample(
            arriving, shape, spacing, spacing, interpolation="linear", antialias=True, clip_hu=volume.clip_hu
        )
        encode_levels(clipped, shape, 1, encoding_of(volume))

    assert traced_peak_bytes(convert, 2) < estimated


def test_a_bucket_s_objects_are_there_twice_while_they_are_sent() -> None:
    small, large = (rows(n, 230_000, in_archive=False) for n in (50, 1000))
    assert needed(small, in_bucket=True, planes=50) == needed(small, planes=50)
    encoded = 1.25 * 230_000 / 512**2 * 1000 * 410 * 410 + 240 * 16 * 7 * 7
    assert needed(large, in_bucket=True, planes=1000) == pytest.approx(2 * encoded, abs=2)


def test_slices_that_are_repeated_are_encoded_once_a_chunk() -> None:
    def encoded_planes(**options: Any) -> float:
        volume = Volume(interpolation="nearest", pyramid_levels=1, **options)
        smooth = volume.model_copy(update={"interpolation": "linear"})
        slices = rows(80, 230_000, in_archive=False)
        # Resampling holds less than with linear: one plane for each of its taps.
        saved = needed(slices, smooth) - needed(slices, volume) - resampling_bytes(smooth, volume)
        return 400 - saved / (1.25 * 230_000 / 512**2 * 410 * 410)

    def resampling_bytes(one: Volume, other: Volume) -> int:
        held = [
            task_memory_bytes((80, *IMAGE), (1.0, 0.8, 0.8), (1.0, 1.0, 1.0), v.interpolation, v.antialias)
            for v in (one, other)
        ]
        return held[0] - held[1]

    assert encoded_planes() == pytest.approx(80 + 7, abs=0.01)
    assert encoded_planes(chunk=(4, 64, 64)) == pytest.approx(80 + 100, abs=0.01)
    assert encoded_planes(chunk=(64, 256, 256)) == pytest.approx(400, abs=0.01)


@pytest.mark.parametrize(
    "codec", [Codec(), Codec(name="lz4"), Codec(name="zlib"), Codec(shuffle="noshuffle")], ids=str
)
def test_every_codec_finds_a_repeated_plane(codec: Codec) -> None:
    volume = Volume(codec=codec)
    noise = np.random.default_rng(1).integers(-100, 100, (1, 64, 64), np.int16)
    once, often = np.zeros((64, 64, 64), np.int16), np.repeat(noise, 64, axis=0)
    once[:1] = noise
    encode = blosc(encoding_of(volume)).encode
    assert len(encode(often)) < 1.5 * len(encode(once))

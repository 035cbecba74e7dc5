from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageFile

from etl.imaging.png import SIGNATURE, STORED_ZERO_HU, PngError, PngFault, read_png

PIXELS = np.arange(1, 31, dtype=np.uint16).reshape(5, 6) * 2113
images = npst.arrays(np.uint16, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, *, depth: int = 16, colour: int = 0, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def unfiltered(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)


def adam7(pixels: np.ndarray) -> bytes:
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    parts = (pixels[y::dy, x::dx] for x, y, dx, dy in passes)
    return b"".join(unfiltered(part) for part in parts if part.size)


def png(
    pixels: np.ndarray,
    *,
    rows: bytes | None = None,
    before: bytes = b"",
    after: bytes = b"",
    interlace: int = 0,
) -> bytes:
    stream = zlib.compress(unfiltered(pixels) if rows is None else rows)
    height, width = pixels.shape
    parts = (header(width, height, interlace=interlace), before, chunk(b"IDAT", stream), after)
    return SIGNATURE + b"".join(parts) + chunk(b"IEND", b"")


def fault(data: bytes, shape: tuple[int, int] = PIXELS.shape) -> PngFault:
    with pytest.raises(PngError) as caught:
        read_png(data, shape)
    assert caught.value.message
    return caught.value.fault


def test_values_are_read_as_stored() -> None:
    pixels = np.array([[0, 1, 255, 256], [STORED_ZERO_HU, 32767, 65534, 65535]], np.uint16)
    decoded = read_png(png(pixels), (2, 4))
    assert decoded.dtype == np.dtype("uint16")
    assert decoded.dtype.isnative
    np.testing.assert_array_equal(decoded, pixels)


@given(pixels=images, level=st.integers(0, 9))
def test_what_another_encoder_writes_is_read_back(pixels: np.ndarray, level: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=level)
    np.testing.assert_array_equal(read_png(buffer.getvalue(), pixels.shape), pixels)


@pytest.mark.parametrize("filter_type", range(5))
def test_every_row_filter_is_undone(filter_type: int) -> None:
    pixels = np.random.default_rng(filter_type).integers(0, 65536, (7, 9)).astype(np.uint16)
    raw = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(7, 18).astype(int)
    left = np.pad(raw, ((0, 0), (2, 0)))[:, :-2]
    above = np.pad(raw, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(raw, ((1, 0), (2, 0)))[:-1, :-2]
    distances = np.abs([above - corner, left - corner, left + above - 2 * corner])
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    predicted = [np.zeros_like(raw), left, above, (left + above) // 2, paeth][filter_type]
    filtered = ((raw - predicted) % 256).astype(np.uint8)
    rows = b"".join(bytes([filter_type]) + row.tobytes() for row in filtered)
    np.testing.assert_array_equal(read_png(png(pixels, rows=rows), pixels.shape), pixels)


@given(pixels=images)
@example(pixels=np.ones((1, 1), np.uint16))
def test_interlaced_images_are_read(pixels: np.ndarray) -> None:
    data = png(pixels, rows=adam7(pixels), interlace=1)
    np.testing.assert_array_equal(read_png(data, pixels.shape), pixels)


@pytest.mark.parametrize(
    "ancillary",
    [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"tRNS", struct.pack(">H", int(PIXELS[0, 0]))),
        chunk(b"sBIT", b"\x0c"),
        chunk(b"sRGB", b"\0"),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"not a profile")),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        chunk(b"acTL", struct.pack(">II", 2, 0))
        + chunk(b"fcTL", struct.pack(">5IHHBB", 0, 6, 5, 0, 0, 1, 1, 0, 0)),
        chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(10_000_000))),
        chunk(b"tIME", b""),
    ],
    ids=lambda data: data[4:8].decode(),
)
def test_other_chunks_change_no_value(ancillary: bytes) -> None:
    np.testing.assert_array_equal(read_png(png(PIXELS, before=ancillary), PIXELS.shape), PIXELS)


def test_what_follows_the_end_is_ignored() -> None:
    np.testing.assert_array_equal(read_png(png(PIXELS) + b"left over", PIXELS.shape), PIXELS)


def test_pixel_data_may_come_in_many_chunks() -> None:
    stream = zlib.compress(unfiltered(PIXELS))
    parts = b"".join(chunk(b"IDAT", stream[at : at + 1]) for at in range(len(stream)))
    data = SIGNATURE + header(6, 5) + chunk(b"IDAT", b"") + parts + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_png(data, PIXELS.shape), PIXELS)


def test_a_shape_that_differs_is_refused_before_anything_is_inflated() -> None:
    bomb = SIGNATURE + header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", b"never looked at") + chunk(b"IEND", b"")
    assert fault(bomb) is PngFault.SIZE_MISMATCH
    assert fault(png(PIXELS.T)) is PngFault.SIZE_MISMATCH


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", PngFault.NOT_PNG),
        (b"\xff\xd8\xff\xe0 a JPEG", PngFault.NOT_PNG),
        (png(PIXELS).replace(b"\r\n", b"\n"), PngFault.NOT_PNG),
        (SIGNATURE, PngFault.TRUNCATED),
        (SIGNATURE + header(6, 5) + chunk(b"IEND", b""), PngFault.TRUNCATED),
        (SIGNATURE + chunk(b"IDAT", b"") + header(6, 5) + chunk(b"IEND", b""), PngFault.NOT_PNG),
        (SIGNATURE + chunk(b"IHDR", b"short") + chunk(b"IEND", b""), PngFault.NOT_PNG),
        (SIGNATURE + header(6, 5, depth=8) + chunk(b"IEND", b""), PngFault.NOT_16BIT_GREY),
        (SIGNATURE + header(6, 5, colour=2) + chunk(b"IEND", b""), PngFault.NOT_16BIT_GREY),
        (SIGNATURE + header(6, 5, colour=4) + chunk(b"IEND", b""), PngFault.NOT_16BIT_GREY),
        (SIGNATURE + header(6, 5, interlace=2) + chunk(b"IEND", b""), PngFault.NOT_PNG),
        (png(PIXELS, before=header(6, 5)), PngFault.NOT_PNG),
        (png(PIXELS, before=chunk(b"PLTE", bytes(3))), PngFault.NOT_PNG),
        (png(PIXELS, after=chunk(b"tIME", b"") + chunk(b"IDAT", b"")), PngFault.NOT_PNG),
        (png(PIXELS, rows=unfiltered(PIXELS)[:-1]), PngFault.TRUNCATED),
        (png(PIXELS, rows=unfiltered(PIXELS[:-1])), PngFault.TRUNCATED),
        (png(PIXELS, rows=b""), PngFault.TRUNCATED),
        (png(PIXELS, rows=unfiltered(PIXELS) + b"\0"), PngFault.SIZE_MISMATCH),
        (png(PIXELS, rows=bytes(10_000_000)), PngFault.SIZE_MISMATCH),
        (png(PIXELS, rows=b"\x05" + unfiltered(PIXELS)[1:]), PngFault.NOT_PNG),
        (png(PIXELS, rows=unfiltered(PIXELS)[:-13] + b"\xff" + bytes(12)), PngFault.NOT_PNG),
    ],
)
def test_other_files_are_refused_by_their_fault(data: bytes, expected: PngFault) -> None:
    assert fault(data) is expected


def test_a_stream_without_its_end_or_with_a_wrong_checksum_is_refused() -> None:
    stream = zlib.compress(unfiltered(PIXELS))
    for broken, expected in (
        (stream[:-4], PngFault.TRUNCATED),
        (stream[:-1] + bytes([stream[-1] ^ 1]), PngFault.CORRUPT),
        (b"not a zlib stream", PngFault.CORRUPT),
        (b"", PngFault.TRUNCATED),
    ):
        data = SIGNATURE + header(6, 5) + chunk(b"IDAT", broken) + chunk(b"IEND", b"")
        assert fault(data) is expected


def test_every_shorter_file_is_refused() -> None:
    data = png(PIXELS)
    faults = [fault(data[:length]) for length in range(len(data))]
    assert set(faults[: len(SIGNATURE)]) == {PngFault.NOT_PNG}
    assert set(faults[len(SIGNATURE) :]) == {PngFault.TRUNCATED}


def test_every_flipped_bit_is_refused() -> None:
    data = png(PIXELS)
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            assert fault(bytes(damaged)) in {
                PngFault.NOT_PNG,
                PngFault.TRUNCATED,
                PngFault.CORRUPT,
            }


@pytest.fixture
def tolerant_pillow() -> Iterator[None]:
    """Another library in the process may have switched this on."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    yield
    ImageFile.LOAD_TRUNCATED_IMAGES = False


@pytest.mark.usefixtures("tolerant_pillow")
def test_a_tolerant_image_library_lets_nothing_partial_through() -> None:
    short = png(PIXELS, rows=unfiltered(PIXELS[:2]))
    assert imageio.imread(short, plugin="pillow", extension=".png").shape == PIXELS.shape
    assert fault(short) is PngFault.TRUNCATED
    assert fault(png(PIXELS, rows=b"\x05" + unfiltered(PIXELS)[1:])) is PngFault.NOT_PNG
    assert fault(png(PIXELS)[:-20]) is PngFault.TRUNCATED


@given(data=st.binary(max_size=200), signed=st.booleans())
def test_any_bytes_give_an_error_of_ours(data: bytes, signed: bool) -> None:
    fault(SIGNATURE + data if signed else data)


@given(
    pixels=images,
    kinds=st.lists(st.sampled_from([b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"gAMA"]), max_size=5),
    body=st.binary(max_size=60),
)
def test_any_well_formed_chunks_give_the_pixels_or_an_error_of_ours(
    pixels: np.ndarray, kinds: list[bytes], body: bytes
) -> None:
    extra = b"".join(chunk(kind, body) for kind in kinds)
    for data in (png(pixels, before=extra), png(pixels, after=extra), SIGNATURE + extra):
        try:
            decoded = read_png(data, pixels.shape)
        except PngError:
            continue
        np.testing.assert_array_equal(decoded, pixels)


@given(
    pixels=images,
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4
    ),
)
def test_any_mutation_gives_the_pixels_or_an_error_of_ours(
    pixels: np.ndarray, edits: list[tuple[int, int, bytes]]
) -> None:
    data = png(pixels)
    for at, removed, added in edits:
        at %= len(data) + 1
        data = data[:at] + added + data[at + removed :]
    try:
        decoded = read_png(data, pixels.shape)
    except PngError:
        return
    np.testing.assert_array_equal(decoded, pixels)


def test_real_slices_decode_to_their_published_range(real_release: Path) -> None:
    with (real_release / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 39
    for row in rows:
        data = (real_release / "Images_png" / row["series"] / f"{int(row['slice']):03d}.png").read_bytes()
        hu = read_png(data, (512, 512)).astype(np.int32) - STORED_ZERO_HU
        assert (hu.min(), hu.max()) == (int(row["hu_min"]), int(row["hu_max"])), row


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_streams_of_every_window_size_are_inflated(window_bits: int) -> None:
    compressor = zlib.compressobj(6, zlib.DEFLATED, window_bits)
    stream = compressor.compress(unfiltered(PIXELS)) + compressor.flush()
    data = SIGNATURE + header(6, 5) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_png(data, PIXELS.shape), PIXELS)


def test_a_window_that_no_png_may_have_is_refused() -> None:
    stream = b"\x88\x1c" + zlib.compress(unfiltered(PIXELS))[2:]
    data = SIGNATURE + header(6, 5) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    assert fault(data) is PngFault.CORRUPT

"""Decoding of slices: this project's decoder and each of its steps, compared with libraries."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from isal import isal_zlib
from PIL import Image
from zlib_ng import zlib_ng

from benchmarks.peers import use_one_thread
from benchmarks.sample import IMAGE, slice_files
from benchmarks.timing import ratio, rounds
from etl.imaging.png import read_chunks, read_png
from etl.imaging.unfilter import unfilter

INFLATED_BYTES = IMAGE[0] * (1 + 2 * IMAGE[1])


def by_opencv(data: bytes) -> np.ndarray:
    """Decode with OpenCV, which uses libpng."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def by_pillow(data: bytes) -> np.ndarray:
    """Decode with Pillow, which imageio uses."""
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.uint16)


def by_imagecodecs(data: bytes) -> np.ndarray:
    """Decode with imagecodecs, which uses libpng."""
    return np.asarray(imagecodecs.png_decode(data))


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "ours": lambda data: read_png(data, IMAGE),
    "opencv": by_opencv,
    "pillow": by_pillow,
    "imagecodecs": by_imagecodecs,
}
INFLATERS: dict[str, Callable[[bytes], Any]] = {
    "isal": lambda stream: isal_zlib.decompress(stream, bufsize=INFLATED_BYTES + 1),
    "libdeflate": lambda stream: imagecodecs.deflate_decode(stream, out=bytearray(INFLATED_BYTES)),
    "zlib-ng": lambda stream: zlib_ng.decompress(stream, bufsize=INFLATED_BYTES + 1),
    "zlib": lambda stream: zlib.decompress(stream, bufsize=INFLATED_BYTES + 1),
}


def measure(folder: Path, repeats: int = 7) -> dict[str, Any]:
    """Measure milliseconds per slice; raise ValueError if a library decodes other values than ours."""
    use_one_thread()
    kind, files = slice_files(folder)
    png = [path.read_bytes() for path in files]
    for name, decoder in DECODERS.items():
        if not all(np.array_equal(decoder(data), DECODERS["ours"](data)) for data in png):
            raise ValueError(f"{name} decodes other values than our decoder")
    streams = [read_chunks(data, IMAGE)[1] for data in png]
    rows = [np.frombuffer(zlib.decompress(stream), np.uint8).reshape(IMAGE[0], -1) for stream in streams]
    out = np.empty(IMAGE, np.uint16)

    def each(function: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], None]:
        def all_of_them() -> None:
            for item in items:
                function(item)

        return all_of_them

    times = rounds(
        {f"decode: {name}": each(decoder, png) for name, decoder in DECODERS.items()}
        | {f"inflate: {name}": each(inflater, streams) for name, inflater in INFLATERS.items()}
        | {
            "chunks and their CRC-32": each(lambda data: read_chunks(data, IMAGE), png),
            "unfilter": each(lambda filtered: unfilter(filtered, out), rows),
        },
        repeats,
    )
    libraries = [f"decode: {name}" for name in DECODERS if name != "ours"]
    return {
        "slices": kind,
        "times_best_png_library": min(ratio(times[name], times["decode: ours"]) for name in libraries),
        "fastest_inflate": min(INFLATERS, key=lambda name: times[f"inflate: {name}"].median),
        "decoding_ms_per_slice": {name: 1e3 * t.median / len(png) for name, t in times.items()},
    }

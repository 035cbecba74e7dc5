"""Every fault of a PNG file has its reason in `rejects`."""

from __future__ import annotations

import numpy as np
import pytest

from etl.convert.pixels import REASONS, decode_slice
from etl.core.errors import SliceError
from etl.core.rejects import Reason
from etl.imaging.png import PngFault
from etl.phantom import encode_png

PNG = encode_png(np.full((4, 5), 40_000, np.uint16))


def test_each_fault_has_one_reason() -> None:
    assert set(REASONS) == set(PngFault)
    assert len(set(REASONS.values())) == len(REASONS)


def test_a_file_is_decoded_or_rejected_with_its_reason() -> None:
    assert decode_slice(PNG, (4, 5)).tolist() == [[40_000] * 5] * 4
    for data, shape, reason in (
        (PNG[:-20], (4, 5), Reason.SLICE_TRUNCATED),
        (PNG, (5, 4), Reason.SLICE_SIZE_MISMATCH),
        (b"GIF89a", (4, 5), Reason.SLICE_NOT_PNG),
    ):
        with pytest.raises(SliceError) as caught:
            decode_slice(data, shape)
        assert caught.value.reason is reason
        assert caught.value.message

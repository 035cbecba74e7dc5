"""Errors of a place or a machine, told apart from evidence about what was read."""

from __future__ import annotations

import errno

import pytest

from etl.io.places import BlobRefused, is_outage


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ESTALE, "stale"), True),
        (OSError(errno.EACCES, "denied"), True),
        (OSError(errno.EMFILE, "too many files"), True),
        (OSError(errno.ENOENT, "absent"), False),
        (OSError(errno.EIO, "lost block"), False),
        (OSError(errno.EBADMSG, "checksum"), False),
        (OSError("an image file is cut"), False),
        (ConnectionError("no answer in time"), True),
        (PermissionError("no credentials"), True),
        (BlobRefused("403"), True),
        (MemoryError(), True),
        (ValueError("no JSON"), False),
    ],
)
def test_outages(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected

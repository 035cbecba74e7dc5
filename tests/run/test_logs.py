"""Lines that Dask logs about runs that succeed are left out."""

from __future__ import annotations

import logging

import pytest

from etl.run.logs import quiet_dask
from tests.support.logged import logged_here


def test_only_what_nobody_can_act_on_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    quiet_dask()
    with caplog.at_level(logging.INFO):
        logging.getLogger("distributed.nanny").warning("Worker process still alive after 4.0 seconds")
        logging.getLogger("distributed.sizeof").warning("Sizeof calculation for object of type 'x' failed.")
        logging.getLogger("distributed.nanny").warning("Worker process 7 was killed by signal 9")
    assert logged_here(caplog) == ["Worker process 7 was killed by signal 9"]

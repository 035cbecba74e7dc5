"""What a test needs and this machine lacks: the test is skipped, or fails where it has to be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

# What `.ci/run` has installed, with spaces between: a test that is skipped for want of it proves nothing.
VARIABLE = "TESTS_HAVE"


def wanting(name: str, message: str) -> NoReturn:
    """Skip the test that is running, for want of `name`; fail it where that is said to be there."""
    if name in os.environ.get(VARIABLE, "").split():
        pytest.fail(f"{message}; {VARIABLE} says that {name} is there")
    pytest.skip(message)

"""Needs of a test that this machine lacks: the test is skipped, or fails where they have to be there."""

from __future__ import annotations

import importlib
import os
from typing import Any, NoReturn

import pytest

# What `.ci/run` has installed, with spaces between: a test that is skipped for want of it proves nothing.
VARIABLE = "TESTS_HAVE"


def wanting(name: str, message: str) -> NoReturn:
    """Skip the test that is running, for want of `name`; fail it where that is said to be there."""
    if name in os.environ.get(VARIABLE, "").split():
        pytest.fail(f"{message}; {VARIABLE} says that {name} is there")
    pytest.skip(message)


def tool(name: str) -> Any:
    """Return a tool's module; without it the test is skipped, or fails where `tools` are said to be there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        wanting("tools", f"needs {error.name}, which is not in the lock: make tools")

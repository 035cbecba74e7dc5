from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import etl
from etl.imaging import kernels

PROGRAM = """
import numba, numpy as np
from etl.imaging import kernels, pyramid
try:
    numba.njit(cache=True)(kernels.halve_mean.py_func)
    print("cached")
except RuntimeError:
    print("not cached")
print(kernels.__file__)
print(pyramid.halve(np.full((2, 2, 2), 7, np.int16)).tolist())
"""


def run_copy(folder: Path, cache_home: Path) -> list[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_CACHE", "PYTHON"))
    }
    environment |= {
        "HOME": str(cache_home),
        "XDG_CACHE_HOME": str(cache_home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_kernels_work_where_no_cache_can_be_written(tmp_path: Path, writable: bool) -> None:
    copy = tmp_path / "etl"
    shutil.copytree(Path(etl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "home"
    if not writable:
        # Files where folders would be made: they refuse root too, as permissions would not.
        home.write_text("")
        (copy / "imaging" / "__pycache__").write_text("")
    lines = run_copy(tmp_path, home)
    assert lines[:3] == [
        "cached" if writable else "not cached",
        str(copy / "imaging" / "kernels.py"),
        "[[[7]]]",
    ]
    assert any(copy.rglob("*.nbi")) is writable


@given(values=st.lists(st.floats(-40000, 40000, width=32), min_size=1, max_size=20))
def test_rounding_is_half_to_even(values: list[float]) -> None:
    halves = [np.floor(value) + 0.5 for value in values]
    plane = np.array([values + halves], np.float32)
    out = np.empty(plane.shape, np.int16)
    kernels.combine_planes(
        plane[np.newaxis],
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        np.float32(-32768),
        np.float32(32767),
        np.empty(plane.shape[1], np.float32),
        out,
    )
    np.testing.assert_array_equal(out, np.rint(np.clip(plane, -32768, 32767)))


def test_products_and_sums_are_rounded_one_by_one() -> None:
    """A fused multiply-add rounds once, and only some machines have one: the bits would differ."""
    # (1 + 2**-12)**2 - 1 is 2**-11 + 2**-24, whose last bit a separate product loses
    factor = np.float32(1 + 2**-12)
    row = np.full((1, 8), factor, np.float32)
    work = np.empty(8, np.float32)
    kernels.combine_planes(
        np.stack([np.full_like(row, -1), row]),
        np.arange(2, dtype=np.int32),
        np.array([1, factor], np.float32),
        np.float32(-1024),
        np.float32(3071),
        work,
        np.empty((1, 8), np.int16),
    )
    np.testing.assert_array_equal(work, np.float32(2**-11))

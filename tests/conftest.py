from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etl.release.phantom import PhantomTruth

# Before numpy or numba are imported: one thread a process, as in the Makefile.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_release() -> Path:
    """The folder of real slices and rows, read where it lies beside the project."""
    folder = ROOT.parent / "shared" / "real"
    if not (folder / "DL_info_part.csv").is_file():
        pytest.skip("needs the real DeepLesion pieces in ../shared/real, which are not there")
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """The default synthetic release and the truth about it. Read only: copy it to damage it."""
    from etl.release.phantom import write_phantom

    out = tmp_path_factory.mktemp("phantom")
    return out, write_phantom(out)

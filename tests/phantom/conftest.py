from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etl.phantom import PhantomTruth
    from tests.support.phantom_pixels import Pixels


@pytest.fixture(scope="module")
def pixels(phantom: tuple[Path, PhantomTruth]) -> Pixels:
    from tests.support.phantom_pixels import Pixels

    return Pixels(phantom[0])

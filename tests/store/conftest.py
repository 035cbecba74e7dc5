from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etl.store.objects import Objects
    from tests.s3_server import Bucket


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty store, on the disk and in a bucket."""
    from etl.store.objects import LocalObjects, open_objects

    if request.param == "folder":
        return LocalObjects(str(tmp_path))
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    return open_objects(f"{bucket.url}/deep/store/")

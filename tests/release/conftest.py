from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.release.fetching import Staged


@pytest.fixture
def folder(tmp_path: Path) -> Staged:
    """A folder to stage archives in, not made yet."""
    from tests.release.fetching import Staged

    return Staged(str(tmp_path / "staging"))


@pytest.fixture(params=["folder", "bucket"])
def staged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Staged:
    """Each kind of staging area."""
    from tests.release.fetching import Staged

    if request.param == "folder":
        folder: Staged = request.getfixturevalue("folder")
        return folder
    # Buckets join parts of 5 MiB and more only; tests make do with small ones.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    return Staged(f"{request.getfixturevalue('s3_bucket').url}/staging")

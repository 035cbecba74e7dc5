"""The report of a release of full size, and its page in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.report.gallery import MAX_PICTURES
from etl.report.report import make_report
from tests.support.browser import addresses, chromium, complaints, wait
from tests.support.full_size import LESIONS, write_full_size

pytestmark = pytest.mark.campaign


def test_a_release_of_full_size(tmp_path: Path) -> None:
    store = write_full_size(tmp_path / "store")
    files = make_report(store, share=1.0)
    assert len(files["index.html"]) < 15_000_000
    assert files["places.csv"].count(b"\n") == LESIONS + 1
    assert b"unlabelled (22,919)" in files["index.html"]
    assert files["index.html"].count(b'<figure class="slice"') > MAX_PICTURES * 0.9
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    address = (tmp_path / "index.html").as_uri()
    with chromium(tmp_path / "profile") as page:
        page.get(address)
        wait(page, "return [...document.images].every((image) => image.complete && image.naturalWidth)")
        page.execute_script("document.getElementById('by-split').value = 'val'")
        page.execute_script("document.getElementById('by-split').dispatchEvent(new Event('change'))")
        assert 0 < int(page.find_element("id", "shown").text.split()[0]) < MAX_PICTURES
        assert {a for a in addresses(page) if a.startswith(("http", "file"))} == {address}
        assert complaints(page) == []

from __future__ import annotations

from pathlib import Path

import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from tests.support.jobs import call_job
from tests.support.stored import build_store, config_data


@pytest.fixture(scope="module")
def store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions: patient 1, then patients 1 and 2."""
    root = tmp_path_factory.mktemp("job") / "store"
    for patients in ([1], [1, 2]):
        data = config_data(phantom[0], root, select={"patients": patients}, volume={"spacing_mm": 3.0})
        build_store(data, SerialExecutor())
    return root


@pytest.mark.slow
def test_the_current_version_or_another(store: Path) -> None:
    for options, number in (([], 2), (["--version", "1", "--sample", "all"], 1)):
        done = call_job("report", str(store), *options)
        page = store / "reports" / f"{number:06d}" / "index.html"
        assert str(page) in done.stdout
        assert f"DeepLesion store, version {number}" in page.read_text()
    assert "Change from version 1" in (store / "reports" / "000002" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "nothing was published yet"),
        (["STORE", "--version", "7"], "no such version"),
        (["STORE", "--sample", "0"], "neither `all` nor a number above 0 and up to 1"),
        (["STORE", "--sample", "most"], "neither `all` nor a number above 0 and up to 1"),
    ],
)
def test_what_can_not_be_done_is_said(store: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    places = {"STORE": str(store), "none": str(tmp_path / "none")}
    assert words in call_job("report", *(places.get(a, a) for a in arguments), code=2).stderr

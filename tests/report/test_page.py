"""The page in a real browser: its gallery, filters, links and colours; it logs and requests nothing."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from etl.export.selection import lesion_types
from etl.imaging.window import to_grey
from etl.report.planes import WINDOW_HU
from etl.report.report import write_report
from etl.report.serving import missing_viewer
from etl.store.reader import Store, open_store
from tests.support.browser import addresses, complaints, serving, wait
from tests.support.require import wanting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reported(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy of the store with its report in it; slices a little off the median count as outlying."""
    folder = tmp_path_factory.mktemp("reported") / "store"
    shutil.copytree(store.objects.root, folder)
    write_report(open_store(str(folder)), unusual=0.5)
    return open_store(str(folder))


@pytest.fixture(scope="module")
def address(reported: Store) -> str:
    return (Path(reported.objects.root) / "reports" / "000001" / "index.html").as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """The report, opened from disk."""
    browser.get("about:blank")
    complaints(browser), addresses(browser)
    browser.get(address)
    return browser


def choose(page: Any, name: str, value: str) -> None:
    page.execute_script(
        "const [id, value] = arguments; const choice = document.getElementById(id); choice.value = value;"
        "choice.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def shown(page: Any) -> list[int]:
    """Return the lesion_ids of the visible pictures."""
    figures = page.execute_script(
        "return [...document.querySelectorAll('#figures > figure')].filter((f) => f.checkVisibility())"
        ".map((f) => f.dataset.lesions)"
    )
    return sorted(lesion["id"] for figure in figures for lesion in json.loads(figure))


def test_it_asks_for_nothing_and_logs_nothing(page: Any, address: str) -> None:
    wait(page, "return [...document.images].every((image) => image.complete && image.naturalWidth)")
    assert addresses(page) == {address}
    assert complaints(page) == []


def test_the_gallery_is_filtered(page: Any, store: Store) -> None:
    lesions = store.lesions().assign(type=lambda rows: lesion_types(rows))
    assert shown(page) == lesions["lesion_id"].tolist()
    for name, column in (("by-type", "type"), ("by-split", "split")):
        value = lesions[column].iloc[0]
        choose(page, name, value)
        files = lesions.loc[lesions[column] == value, "file_name"]
        assert shown(page) == lesions.loc[lesions["file_name"].isin(files), "lesion_id"].tolist()
        choose(page, name, "")
    # All lesions of this store have 10 to 30 mm.
    assert lesions["long_diameter_mm"].between(10, 29.9).all()
    for size, expected in (("10 30", lesions["lesion_id"].tolist()), ("30 100000", []), ("0 10", [])):
        choose(page, "by-size", size)
        assert shown(page) == expected
        figures = lesions.loc[lesions["lesion_id"].isin(expected), "file_name"].nunique()
        assert page.find_element("id", "shown").text == f"{figures} shown"
    assert complaints(page) == []


@pytest.mark.campaign
def test_a_link_leads_to_a_picture_that_the_filter_hid(page: Any, store: Store) -> None:
    choose(page, "by-size", "30 100000")
    lesion_id = next(n for n in store.lesions()["lesion_id"] if n not in shown(page))
    page.execute_script("location.hash = arguments[0]", f"lesion-{lesion_id}")
    wait(page, "return document.getElementById('by-size').value !== '30 100000'")
    assert lesion_id in shown(page)
    assert page.execute_script("return document.querySelector(':target').closest('figure').checkVisibility()")


@pytest.mark.campaign
def test_a_row_of_a_check_leads_to_its_own_slice(page: Any, reported: Store) -> None:
    rows = pd.read_csv(Path(reported.objects.root) / "reports/000001/outlying_slices.csv").head(10)
    links = page.find_elements("css selector", "#outlying_slices tbody a[href]")
    assert len(links) == len(rows) > 3
    volumes = reported.volumes().set_index("volume_id")
    for link, row in zip(links[:4], rows.itertuples(), strict=False):
        link.click()
        anchor = link.get_attribute("href").partition("#")[2]
        wait(page, f"return document.querySelector(':target')?.id === '{anchor}'")
        volume = volumes.loc[row.volume_id]
        z_mm = (row.slice_index - volume["slice_first"]) * volume["source_spacing_z_mm"]
        plane = min(round(z_mm / volume["spacing_z_mm"]), volume["shape_z"] - 1)
        caption, source = page.execute_script(
            "const t = document.querySelector(':target');"
            "return t.checkVisibility() && [t.textContent, t.querySelector('img').src]"
        )
        assert row.volume_id in caption
        assert f"plane {plane} " in caption
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        stored = Image.fromarray(to_grey(np.asarray(reported.array(row.volume_id)[plane]), WINDOW_HU))
        stored.thumbnail(picture.shape[::-1], Image.Resampling.BILINEAR)
        assert np.abs(picture.astype(int) - np.asarray(stored)).mean() < 4
    assert complaints(page) == []


@pytest.mark.campaign
def test_marks_are_hidden_and_a_picture_enlarged(page: Any) -> None:
    visible = "return document.querySelector('#figures svg').checkVisibility()"
    assert page.execute_script(visible)
    page.execute_script("document.getElementById('marks').click()")
    assert not page.execute_script(visible)
    page.execute_script("document.querySelector('#figures .plane').click()")
    assert page.execute_script("return document.querySelector('dialog[open] img').naturalWidth") > 100
    page.execute_script("document.getElementById('close').click()")
    assert not page.execute_script("return document.querySelector('dialog').open")
    assert complaints(page) == []


def background(page: Any, **media: str) -> tuple[int, ...]:
    """Return the colour of the page's upper left corner."""
    features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media.get("kind", "")})
    picture = base64.b64decode(page.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
    return tuple(int(value) for value in np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))[2, 2])


@pytest.mark.campaign
def test_it_is_light_dark_or_on_paper(page: Any) -> None:
    light, dark = (255, 255, 255), background(page, scheme="dark")
    assert background(page, scheme="light") == light
    assert max(dark) < 40
    assert background(page, scheme="dark", kind="print") == light
    page.execute_script("document.getElementById('theme').click()")
    assert background(page, scheme="light") == dark
    page.execute_script("document.getElementById('theme').click()")
    assert background(page, scheme="light") == light


@pytest.mark.campaign
def test_no_table_of_a_check_is_cut_on_paper(page: Any) -> None:
    """A4 between its margins is 718 CSS pixels wide."""
    size = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        cut = (
            "return [...document.querySelectorAll('article .scroll')]"
            ".filter((part) => part.scrollWidth > part.clientWidth).length"
        )
        assert page.execute_script(cut) == 0
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.campaign
def test_a_phone_scrolls_one_way_only(page: Any) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        letters = (
            "return Math.min(...[...document.querySelectorAll('.chart text')]"
            ".map((text) => text.getBoundingClientRect().height))"
        )
        assert page.execute_script(letters) > 8
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.campaign
def test_served_it_leads_to_the_viewer_and_back(page: Any, reported: Store) -> None:
    if missing_viewer():
        wanting("niivue", "needs niivue: make viewer")
    with serving(reported) as server:
        page.get(f"{server}/store/reports/000001/index.html")
        complaints(page)
        link = page.find_element("css selector", "#figures .view")
        volume_id, lesion_id = link.get_attribute("data-view").split("/")
        page.get(link.get_attribute("href"))
        wait(page, "return window.viewer !== undefined")
        assert f"{volume_id}, lesion {lesion_id}" in page.find_element("id", "position").text
        page.back()
        link = page.find_element("css selector", "#outlying_slices tbody .view")
        volume_id, plane = link.get_attribute("data-view").split("/z=")
        page.get(link.get_attribute("href"))
        wait(page, "return window.viewer !== undefined")
        assert page.execute_script("return viewer.voxelAtCrosshair()[0]") == int(plane)
        assert page.find_element("id", "position").text.startswith(f"{volume_id}: ")
        page.find_element("id", "report").click()
        wait(page, "return document.getElementById('figures') !== null")
        assert complaints(page) == []

"""The viewer in a real browser: it shows the voxels of the store, and a message for every fault."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from etl.imaging.window import to_grey
from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.report.serving import missing_viewer
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.browser import addresses, chromium, complaints, serving, wait
from tests.support.jobs import call_job
from tests.support.masked_store import masked_store
from tests.support.processes import ROOT, running, wait_until
from tests.support.require import wanting
from tests.support.s3_server import Bucket
from tests.support.stored import build_store, config_data, files_below
from tests.support.three_volumes import FIRST, built
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if missing_viewer():
        wanting("niivue", "needs niivue: make viewer")
    with chromium(tmp_path_factory.mktemp("profile"), 760, 560) as page:
        yield page


@pytest.fixture(scope="module")
def store(phantom: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of coarse voxels: a volume on the default grid takes software WebGL several seconds to draw."""
    place = tmp_path_factory.mktemp("viewer") / "store"
    data = config_data(phantom[0], place, select={"patients": [1, 2]}, volume={"spacing_mm": 2.0})
    build_store(data, SerialExecutor())
    return open_store(str(place))


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    with serving(store) as address:
        yield address


def open_page(page: Any, address: str, fragment: str = "") -> None:
    """Open the viewer and wait until it shows what the address names."""
    page.get("about:blank")
    complaints(page), addresses(page)
    page.get(f"{address}/viewer/#{fragment}")
    wait(page, "return window.viewer !== undefined")


def text(page: Any, name: str) -> str:
    return str(page.execute_script("return document.getElementById(arguments[0]).textContent", name))


def same_as_shown(page: Any, voxels: np.ndarray) -> bool:
    """Return True if the viewer has the volume's values at random places."""
    random = np.random.default_rng(0)
    places = [[int(random.integers(n)) for n in voxels.shape] for _ in range(200)]
    shown = page.execute_script("return arguments[0].map((place) => viewer.valueAt(...place))", places)
    return bool(shown == [int(voxels[tuple(place)]) for place in places])


def test_a_lesion_is_shown_with_the_stores_voxels(page: Any, address: str, store: Store) -> None:
    lesion = store.lesions().iloc[0]
    open_page(page, address, f"{lesion['volume_id']}/{lesion['lesion_id']}")
    voxels = store.array(lesion["volume_id"])[...]
    assert same_as_shown(page, voxels)

    crosshair = page.execute_script("return viewer.voxelAtCrosshair()")
    middle = [
        lesion["z_vox"],
        *((lesion[f"bbox_{axis}1_vox"] + lesion[f"bbox_{axis}2_vox"]) / 2 for axis in "yx"),
    ]
    assert np.abs(np.subtract(crosshair, middle)).max() <= 0.5
    assert f"{voxels[tuple(crosshair)]} HU at voxel ({', '.join(map(str, crosshair))})" in text(
        page, "position"
    )

    def is_marked(*voxel: int) -> bool:
        return bool(page.execute_script(f"return viewer.isMarked({', '.join(map(str, voxel))})"))

    # Both ends of both diameters are drawn on the plane, and nothing in the corner.
    for side in ("long", "short"):
        for end in "12":
            y, x = (round(lesion[f"recist_{side}_{axis}{end}_vox"]) for axis in "yx")
            assert page.execute_script("return viewer.isMarked(...arguments)", crosshair[0], y, x), (
                side,
                end,
            )
    assert not is_marked(crosshair[0], 0, 0)
    dark = "return getComputedStyle(document.body).backgroundColor"
    before = page.execute_script(dark)
    page.find_element("id", "theme").click()
    assert page.execute_script(dark) != before
    assert text(page, "message") == ""
    assert complaints(page) == []
    assert {asked.split("/")[2] for asked in addresses(page)} == {address.split("/")[2]}


def test_the_outline_of_a_mask_is_drawn(page: Any, tmp_path: Path) -> None:
    store = masked_store(tmp_path)
    mask = store.mask(0).to_numpy()
    with serving(store) as address:
        open_page(page, address, "000001_01_01_103-115/0")
        voxels = [list(voxel) for voxel in np.ndindex(mask.shape)]
        marks = page.execute_script("return arguments[0].map((voxel) => viewer.markAt(...voxel))", voxels)
    drawn = np.array(marks).reshape(mask.shape)
    # So thin that every voxel is at its edge; on the key slice the diameters are drawn on it.
    assert (drawn[9:12][mask[9:12]] == 2).all()
    assert (drawn[mask] > 0).all()
    assert set(np.unique(drawn[12][~mask[12]])) == {0, 1}
    assert not drawn[:9].any()
    assert complaints(page) == []


@pytest.mark.campaign
def test_region_and_relative_z_of_a_plane_are_said(page: Any, tmp_path: Path, serial_jobs: None) -> None:
    place = built(tmp_path).store
    add_model(open_objects(place), "brightness", "brightness-3f6a09c2d1e4b785", tiny_model())
    call_job("score_slices", place, "--model", "brightness")
    scored = open_store(place)
    volume_id = f"{FIRST}_003-005"
    rows = scored.body_positions(volume_id=volume_id)
    spacing_mm = float(scored.volumes().set_index("volume_id").loc[volume_id, "spacing_z_mm"])
    plane = round(float(rows["mm"].iloc[-1]) / spacing_mm)
    with serving(scored) as address:
        for number, row in ((0, rows.iloc[0]), (plane, rows.iloc[-1])):
            open_page(page, address, f"{volume_id}/z={number}")
            said = f"; {row['region']}, relative z {row['norm_z']:.3f}, not to be trusted: too short"
            assert text(page, "position").endswith(said)


@pytest.mark.campaign
def test_volumes_open_one_after_the_other(page: Any, address: str, store: Store) -> None:
    open_page(page, address)
    for volume_id in store.volumes()["volume_id"].iloc[[0, 1, 0]]:
        page.execute_async_script("viewer.open(arguments[0]).then(arguments[1])", volume_id)
        assert text(page, "position").startswith(f"{volume_id}: ")
        assert text(page, "message") == ""
    assert complaints(page) == []


@pytest.mark.campaign
def test_of_volumes_asked_for_at_once_the_last_is_shown(page: Any, address: str, store: Store) -> None:
    """Each is requested before the one before it is open; the volume shown is the one named."""
    open_page(page, address)
    ids = store.volumes()["volume_id"].tolist()
    for order in (ids[:2], ids[1::-1], [*ids[:3], ids[0]]):
        page.execute_async_script(
            "const [ids, done] = arguments; const opened = [];"
            "ids.forEach((id, n) => setTimeout(() => {"
            " opened.push(viewer.open(id)); if (n === ids.length - 1) Promise.all(opened).then(done)"
            "}, 40 * n))",
            order,
        )
        voxels = store.array(order[-1])[...]
        assert text(page, "position").startswith(f"{order[-1]}: ")
        assert same_as_shown(page, voxels)
        assert text(page, "message") == ""
    assert complaints(page) == []


@pytest.mark.campaign
def test_an_address_opens_a_plane(page: Any, address: str, store: Store) -> None:
    volume_id = store.volumes()["volume_id"].iloc[0]
    planes = store.array(volume_id).shape[0]
    open_page(page, address, f"{volume_id}/z=2")
    for fragment, plane in (("z=2", 2), (f"z={planes + 50}", planes - 1), ("z=x", planes // 2)):
        page.execute_script("location.hash = arguments[0]", f"{volume_id}/{fragment}")
        wait(page, f"return viewer.voxelAtCrosshair()[0] === {plane}")
    assert text(page, "message") == ""


@pytest.mark.campaign
def test_an_address_without_a_volume_opens_a_lesion_and_one_of_no_volume_says_so(
    page: Any, address: str, store: Store
) -> None:
    open_page(page, address)
    lesion = store.lesions().iloc[0]
    assert text(page, "position").startswith(f"{lesion['volume_id']}, lesion {lesion['lesion_id']}: ")
    open_page(page, address, "000009_01_01_001-002/z=3")
    assert text(page, "message").startswith("Version 1 of the store has no volume 000009_01_01_001-002.")
    assert complaints(page) == []


@pytest.mark.campaign
def test_the_list_is_searched(page: Any, address: str, store: Store) -> None:
    open_page(page, address)
    lesions = store.lesions()
    assert text(page, "found") == f"{len(store.volumes())} volumes"
    types = lesions["coarse_type"].fillna("unlabelled")
    for kind in ("unlabelled", lesions["coarse_type"].dropna().iloc[0]):
        page.find_element("id", "search").clear()
        page.find_element("id", "search").send_keys(kind)
        rows = [row.text for row in page.find_elements("css selector", "#list .lesion")]
        assert [int(row.split()[1].rstrip(":")) for row in rows] == sorted(
            lesions.loc[types == kind, "lesion_id"]
        )
    page.find_elements("css selector", "#list .lesion")[0].click()
    wait(page, "return document.getElementById('position').textContent.includes(', lesion ')")
    assert page.find_elements("css selector", "#list [aria-current=true]")[0].text == rows[0]
    assert complaints(page) == []


@pytest.mark.campaign
def test_planes_are_gone_through(page: Any, address: str, store: Store) -> None:
    open_page(page, address, str(store.volumes()["volume_id"].iloc[0]))
    page.execute_script(
        "const p = document.getElementById('plane'); p.value = 3; p.dispatchEvent(new Event('input'))"
    )
    assert page.execute_script("return viewer.voxelAtCrosshair()[0]") == 3


@pytest.mark.campaign
def test_a_damaged_volume_is_not_shown_as_if_it_were_whole(page: Any, store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.objects.root, tmp_path / "store")
    damaged = open_store(str(tmp_path / "store"))
    entry = damaged.version["volumes"][0]
    shard = tmp_path / "store" / entry["path"] / "0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    # The first chunk of the shard: blosc can't read it, and niivue would show zeros in its place.
    content[:64] = bytes(64)
    shard.write_bytes(content)
    with serving(damaged) as address:
        open_page(page, address, entry["volume_id"])
        assert "are not the store's" in text(page, "message")
        assert text(page, "position") == ""
        assert page.execute_script("return viewer.shown()") == []


@pytest.mark.campaign
def test_a_server_without_ranges_is_refused(page: Any, store: Store) -> None:
    """The page's requests are sent without the header `Range`, as if the server ignored it."""
    # The first lesion's volume is open already.
    volume_id = next(v for v in store.volumes()["volume_id"] if v != store.lesions()["volume_id"].iloc[0])
    with serving(store) as address:
        open_page(page, address)
        page.execute_script("const f = window.fetch; window.fetch = (a, o) => f(a, o && o.headers ? {} : o)")
        page.execute_async_script("viewer.open(arguments[0]).then(arguments[1])", volume_id)
        assert "206 and 4 are needed" in text(page, "message")


@pytest.mark.campaign
def test_a_plane_is_drawn_as_it_is_stored(page: Any, address: str, store: Store) -> None:
    """The picture correlates best with the stored plane, of its eight rotations and mirror images."""
    volume_id = store.volumes()["volume_id"].iloc[0]
    open_page(page, address, f"{volume_id}/z=9")
    picture = Image.open(io.BytesIO(page.find_element("id", "canvas").screenshot_as_png)).convert("L")
    drawn = np.asarray(picture, float)
    plane = Image.fromarray(to_grey(np.asarray(store.array(volume_id)[9]), (-175, 275)))
    scale = min(picture.width / plane.width, picture.height / plane.height)
    alike = {}
    for way in (None, *Image.Transpose):
        turned = plane if way is None else plane.transpose(way)
        size = (round(turned.width * scale), round(turned.height * scale))
        whole = Image.new("L", picture.size)
        whole.paste(turned.resize(size), ((picture.width - size[0]) // 2, (picture.height - size[1]) // 2))
        alike[way] = np.corrcoef(np.asarray(whole, float).ravel(), drawn.ravel())[0, 1]
    assert alike.pop(None) > 0.98
    assert max(alike.values()) < 0.97


@pytest.mark.campaign
def test_a_store_on_s3_is_shown_through_the_job(
    page: Any, store: Store, s3_bucket: Bucket, tmp_path: Path
) -> None:
    url, log = f"{s3_bucket.url}/store", tmp_path / "log"
    objects = open_objects(url)
    for path, data in files_below(Path(store.objects.root)).items():
        objects.write(path, data)
    lesion = store.lesions().iloc[-1]
    job = [sys.executable, "-u", str(ROOT / "jobs" / "serve_store.py"), url, "--port", "0"]
    with running(job, log):
        wait_until(lambda: "Ctrl-C stops" in log.read_text(), "it was listening")
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())
        open_page(page, address, f"{lesion['volume_id']}/{lesion['lesion_id']}")
        assert same_as_shown(page, store.array(lesion["volume_id"])[...])
        assert f"{lesion['volume_id']}, lesion {lesion['lesion_id']}: " in text(page, "position")
        assert text(page, "message") == ""
        assert complaints(page) == []

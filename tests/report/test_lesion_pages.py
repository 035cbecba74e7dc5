"""Pages of a patient over time and of lesions like a lesion, and that part of the report."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from etl.core.errors import AbsentError
from etl.imaging.window import to_grey
from etl.report.lesion_pictures import common_size_mm, lesion_pictures
from etl.report.over_time import over_time
from etl.report.patient_page import patient_page
from etl.report.report import make_report, write_report
from etl.report.sequence_drawings import graph_drawing, pictures_drawing
from etl.report.serving import Site
from etl.store.reader import Store, open_store
from tests.support.browser import addresses, complaints, serving, wait
from tests.support.jobs import call_job
from tests.support.logged import logged_here
from tests.support.three_volumes import built
from tests.support.tiny_release import build_serial, csv_row, write_release

FIRST, LOWER, SECOND, THIRD, OTHER = (
    "000001_01_01",
    "000001_01_02",
    "000001_02_01",
    "000001_03_01",
    "000002_01_01",
)
GROWN = {"Measurement_coordinates": "5, 9, 12, 9, 8.5, 7, 8.5, 11", "Lesion_diameters_Pixel_": "7, 4"}
AWAY = {"Normalized_lesion_location": "0.2, 0.3, 0.9"}
# Patient 1: lesions 0, 2 and 3 are one, 1 is another. The age falls from study 2 to 3.
ROWS = (
    csv_row(FIRST, 4, (3, 5), Patient_age="61"),
    csv_row(LOWER, 4, (3, 5), Patient_age="61", Coarse_lesion_type="-1", **AWAY),
    csv_row(SECOND, 4, (3, 5), Patient_age="62", **GROWN),
    csv_row(THIRD, 4, (3, 5), Patient_age="31", **GROWN),
    csv_row(OTHER, 4, (3, 5)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("pages")
    config = built(folder, {key: [3, 4, 5] for key in (FIRST, LOWER, SECOND, THIRD, OTHER)}, ROWS)
    call_job("match_lesions", config.store)
    return open_store(config.store)


def test_a_picture_is_the_stored_plane_around_the_lesion(store: Store) -> None:
    lesions = store.lesions()
    picture = lesion_pictures(store, lesions[lesions["lesion_id"] == 2], [6.0])[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.image.partition(",")[2]))))
    plane = store.array("000001_02_01_003-005")[round(picture.lesion.z_vox)]
    assert shown.shape == (6, 6)
    y, x = (
        (getattr(picture.lesion, f"bbox_{a}1_vox") + getattr(picture.lesion, f"bbox_{a}2_vox")) / 2
        for a in "yx"
    )
    top, left = (int(np.floor(c - 2.5 + 0.5)) for c in (y, x))
    padded = np.pad(np.asarray(plane), 8, constant_values=-1024)[top + 8 : top + 14, left + 8 : left + 14]
    window = (float(picture.lesion.window_low_hu), float(picture.lesion.window_high_hu))
    assert np.abs(shown.astype(int) - to_grey(padded, window)).mean() < 6
    # The centre's mark lies in the middle of the picture.
    centre = re.search(r'class="yellow" d="M([\d.]+) ([\d.]+)h0"', picture.drawing)
    assert centre is not None
    assert [float(value) for value in centre.groups()] == pytest.approx([2.5, 2.5], abs=0.6)


@pytest.mark.parametrize(
    ("diameters", "edge"), [([3.0, 5.0], 40), ([10.0, 30.0], 75), ([300.0], 160), ([], 40)]
)
def test_one_scale_shows_all(diameters: list[float], edge: float) -> None:
    assert common_size_mm(diameters) == edge


@pytest.mark.slow
def test_a_patients_page_has_its_lesions_links_and_warnings(store: Store) -> None:
    page = patient_page(store, 1).decode()
    assert page == patient_page(store, 1).decode()
    assert page.count("<image ") == 4
    assert "This is not a clinical assessment" in page
    assert "age falls with the study number" in page
    assert [f"study {number}" in page for number in (1, 2, 3, 4)] == [True, True, True, False]
    links = store.table("links")
    kept = links[links["kept"] & (links["patient_index"] == 1)]
    drawn = re.findall(r'class="distance"[^>]*>([^<]*)<', page)
    assert sorted(filter(None, drawn)) == sorted(
        f"{row.distance:.2g}" for row in kept.itertuples() if (row.lesion_id, row.other_lesion_id) != (0, 3)
    )
    assert page.count("<circle ") == 4
    assert page.count('class="link left"') == len(links[~links["kept"] & (links["patient_index"] == 1)])
    assert "+40.0" in page
    assert "/similar/" not in page
    assert "age falls" not in patient_page(store, 2).decode()
    assert "No lesion was found in several studies" in patient_page(store, 2).decode()


@pytest.mark.slow
def test_the_report_shows_changes_and_uncertain_links(store: Store) -> None:
    lesions = store.lesions()
    part = over_time(store, lesions)
    assert part is not None
    assert (part.lesions, part.sequences, part.several, part.falling) == (5, 3, 1, 1)
    (change,) = part.changes
    assert (change.first.lesion_id, change.second.lesion_id) == (0, 2)
    assert change.says[0] == "2.5 to 3.5 mm, +40 %"
    assert change.age_falls
    (link,) = part.uncertain
    assert {link.first.lesion_id, link.second.lesion_id} <= {0, 2, 3}
    files = make_report(store)
    assert pd.read_csv(io.BytesIO(files["largest_changes.csv"]))["change_from_first_percent"].tolist() == [40]
    assert len(pd.read_csv(io.BytesIO(files["least_certain_links.csv"]))) == 1
    assert b'id="over-time"' in files["index.html"]
    assert over_time(open_store(store.objects.root, 1), lesions) is None
    assert b'id="over-time"' not in make_report(open_store(store.objects.root, 1))["index.html"]


@pytest.mark.parametrize(
    ("rows", "lost", "studies", "pairs"),
    [
        (ROWS[:2], None, [1], (0, 0)),
        (ROWS[3:], None, [3], (0, 0)),
        (ROWS[:4], FIRST, [1, 2, 3], (0, 1)),
        (ROWS[:4], SECOND, [1, 3], (1, 1)),
        (ROWS[:4], THIRD, [1, 2], (1, 1)),
        (ROWS, OTHER, [1, 2, 3], (1, 1)),
    ],
    ids=[
        "one study",
        "patients with one lesion",
        "first study",
        "second study",
        "last study",
        "other patient",
    ],
)
def test_sequences_of_one_study_or_of_which_a_build_changed_a_lesion_are_shown(
    tmp_path: Path,
    rows: tuple[dict[str, str], ...],
    lost: str | None,
    studies: list[int],
    pairs: tuple[int, int],
) -> None:
    present = {row["File_name"][:12]: [3, 4, 5] for row in rows}
    config = built(tmp_path, present, rows)
    call_job("match_lesions", config.store)
    if lost is not None:
        write_release(tmp_path, present | {lost: [4, 5]}, rows)
        build_serial(config)
    store = open_store(config.store)
    part = over_time(store, store.lesions())
    assert part is not None
    assert (len(part.changes), len(part.uncertain)) == pairs
    assert part.unmatched == (lost is not None)
    page = patient_page(store, 1).decode()
    assert ("1 lesion of this patient is not matched yet" in page) is (lost not in (None, OTHER))
    if lost == OTHER:
        with pytest.raises(AbsentError, match="match what is new: deeplesion match"):
            store.sequences(patient=2)
    assert [study for study in range(1, 4) if f">study {study}<" in page] == studies


def test_a_volume_that_cannot_be_read_only_loses_its_pictures(store: Store, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(store.objects.root, tmp_path / "store")
    path = store.volumes().set_index("volume_id")["path"]["000001_02_01_003-005"]
    shutil.rmtree(tmp_path / "store" / path)
    page = patient_page(open_store(str(tmp_path / "store")), 1).decode()
    assert page.count("<image ") == 3
    assert "1 pictures could not be read" in page


@pytest.mark.slow
def test_jobs_print_and_write_the_pages(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call_job("find_similar", store.objects.root, "2", "-k", "3", "--page", str(page))
    found = pd.read_csv(io.StringIO(done.stdout))
    pd.testing.assert_frame_equal(found, store.similar(2, 3), check_dtype=False)
    text = page.read_text()
    assert text.count("<img ") == 1 + len(found)
    assert "distance" in text
    assert ".905" in text
    call_job("show_patient", store.objects.root, "1", "--page", str(page))
    assert page.read_bytes() == patient_page(store, 1)
    for name, arguments, said in (
        ("find_similar", ["77"], "no such lesion"),
        ("show_patient", ["77"], "no lesion of this patient"),
        ("show_patient", ["1", "--page", str(tmp_path / "no" / "page.html")], "the page can't be written"),
        ("show_patient", ["1", "--version", "1"], "were not matched over time"),
    ):
        assert said in call_job(name, store.objects.root, *arguments, code=2).output


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/patient/1", 200),
        ("/similar/2", 200),
        ("/similar/2/place", 200),
        ("/similar/2/looks", 404),
        ("/patient/9", 404),
        ("/similar/99999999999", 404),
        ("/patient/x", 404),
        ("/patient/1/2", 404),
        ("/patient/\u0663", 404),
    ],
)
def test_a_server_draws_the_pages(store: Store, path: str, status: int) -> None:
    answer = Site(store).answer(path)
    assert answer.status == status
    if status == 200:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert (
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
            in answer.headers["Content-Security-Policy"]
        )
        assert b"/viewer/#000001_02_01_003-005/2" in answer.body


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/patient/1", "sequences"),
        ("/patient/1", "links"),
        ("/similar/2", "lesions"),
        ("/viewer/catalogue.json", "volumes"),
        ("/positions/0", "volumes"),
    ],
)
def test_a_page_that_can_not_be_read_is_a_fault_of_the_server(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, table: str
) -> None:
    shutil.copytree(store.objects.root, tmp_path / "store")
    damaged = store.version["tables"][table][0]["path"]
    (tmp_path / "store" / damaged).write_bytes(b"damaged")
    answer = Site(open_store(tmp_path / "store")).answer(path)
    assert (answer.status, damaged in answer.body.decode()) == (500, True)
    (line,) = logged_here(caplog)
    assert line.startswith(f"'{path}' can't be answered: ")
    assert damaged in line
    assert "\n" not in line


def test_texts_of_a_store_stay_texts(store: Store) -> None:
    evil = "<script>1</script>"
    sequences = store.sequences(patient=1).assign(sequence_id=evil, norm_z=0.5, long_diameter_mm=9.0)
    links = store.table("links").assign(reason=evil)
    links = links[links["patient_index"] == 1]
    lesions = store.lesions().assign(coarse_type=evil)
    pictures = lesion_pictures(store, lesions, [40.0] * len(lesions))
    drawn = pictures_drawing(sequences, links, pictures) + graph_drawing(sequences, links)
    assert "&lt;script&gt;" in drawn
    assert "<script" not in drawn


@pytest.mark.slow
def test_a_report_leads_to_pages_that_fit_a_phone(store: Store, browser: Any) -> None:
    write_report(store)
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    with serving(store) as server:
        browser.get(f"{server}/store/reports/000002/index.html")
        complaints(browser), addresses(browser)
        for kind in ("similar", "patient"):
            link = browser.find_element("css selector", f".served[data-to^='/{kind}/']")
            browser.get(link.get_attribute("href"))
            wait(
                browser, "return [...document.images].every((image) => image.complete && image.naturalWidth)"
            )
            assert browser.execute_script("return document.documentElement.scrollWidth") == 390
            assert complaints(browser) == []
            browser.back()
        assert {address.split("/")[3] for address in addresses(browser)} == {"similar", "patient"}

"""The page of one patient: lesions over studies as pictures, their links with distances, and the graph."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd
from markupsafe import Markup

from etl.report.lesion_pictures import common_size_mm, lesion_pictures
from etl.report.sequence_drawings import graph_drawing, pictures_drawing
from etl.report.templates import PAGES, source
from etl.store.layout import CITATION, SOURCE_URL
from etl.store.reader import Store


def patient_page(store: Store, patient: int, *, served: bool = False) -> bytes:
    """Return the page as HTML; equal versions give equal bytes.

    Args:
        served: if the page may link to the viewer and to other pages of `deeplesion serve`.

    Raises:
        StoreError: lesions were not matched, or the version has none of this patient.
    """
    sequences = store.sequences(patient=patient)
    every = store.lesions()
    lesions = every[every["lesion_id"].isin(sequences["lesion_id"])].reset_index(drop=True)
    unmatched = int((every["patient_index"] == patient).sum()) - len(lesions)
    links = store.table("links")
    links = links[links["patient_index"] == patient]
    growth = store.growth()
    growth = growth[growth["patient_index"] == patient]
    largest = lesions.merge(sequences[["lesion_id", "sequence_id"]], on="lesion_id")
    edges: dict[str, float] = {
        str(name): common_size_mm(rows["long_diameter_mm"]) for name, rows in largest.groupby("sequence_id")
    }
    sizes_mm = [edges[name] for name in largest["sequence_id"]]
    pictures = lesion_pictures(store, lesions, sizes_mm)
    shown = sequences.assign(
        norm_z=lesions["norm_z"].to_numpy(), long_diameter_mm=lesions["long_diameter_mm"].to_numpy()
    )
    text = PAGES.get_template("patient.html").render(
        patient=patient,
        number=store.version["version"],
        root=store.objects.root,
        style=source("page.css"),
        own_style=source("lesion_pages.css"),
        age_falls=bool(sequences["age_falls"].any()),
        unmatched=unmatched,
        method=sequences["method"].iloc[0],
        studies=_studies(lesions),
        sequences=sequences["sequence_id"].nunique(),
        several=sequences.loc[sequences["studies"] > 1, "sequence_id"].nunique(),
        pictures=Markup(pictures_drawing(shown, links, pictures)),
        graph=Markup(graph_drawing(shown, links)),
        growth=[_growth_row(row) for row in growth.itertuples(index=False)],
        links=[_link_row(row) for row in links.itertuples(index=False)],
        failed=[picture.failed for picture in pictures.values() if picture.failed],
        lesions=[
            {"id": picture.lesion_id, "view": f"{picture.lesion.volume_id}/{picture.lesion_id}"}
            for picture in pictures.values()
        ],
        served=served,
        source=SOURCE_URL,
        citation=CITATION,
    )
    return text.encode()


def _studies(lesions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return number, series and ages of each study."""
    found: dict[int, dict[str, Any]] = defaultdict(lambda: {"series": set(), "ages": set()})
    for row in lesions.itertuples(index=False):
        found[int(row.study_index)]["series"].add(int(row.series_index))
        if not pd.isna(row.age_years):
            found[int(row.study_index)]["ages"].add(int(row.age_years))
    return [
        {"study": study, "series": sorted(parts["series"]), "ages": sorted(parts["ages"])}
        for study, parts in sorted(found.items())
    ]


def _growth_row(row: Any) -> list[str]:
    flags = []
    if row.over_progression_threshold:
        flags.append("over 20 % and 5 mm above the smallest")
    if row.over_response_threshold:
        flags.append("30 % or more below the first")
    numbers = [
        "" if pd.isna(value) else f"{value:+.1f}"
        for value in (
            row.change_from_first_percent,
            row.change_from_smallest_percent,
            row.change_from_smallest_mm,
        )
    ]
    return [
        str(row.sequence_id),
        str(row.study_index),
        f"{row.long_diameter_mm:.1f}",
        f"{row.short_diameter_mm:.1f}",
        *numbers,
        "; ".join(flags),
        "" if pd.isna(row.confidence) else f"{row.confidence:.2f}",
    ]


def _link_row(row: Any) -> list[str]:
    return [
        str(row.lesion_id),
        str(row.other_lesion_id),
        f"{row.distance:.3g}",
        "" if pd.isna(row.next_distance) else f"{row.next_distance:.3g}",
        "yes" if row.mutual else "no",
        "yes" if row.kept else "no",
        str(row.reason),
    ]

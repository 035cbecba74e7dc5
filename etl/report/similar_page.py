"""The page of lesions like one lesion: the lesion and its nearest in their display windows."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from etl.core.errors import AbsentError, StoreError
from etl.report.lesion_pictures import common_size_mm, lesion_pictures
from etl.report.templates import PAGES, source
from etl.store.layout import CITATION, SOURCE_URL
from etl.store.lesion_embeddings import PLACE, compared_by, embedding_models, model_id_of
from etl.store.reader import Store

SAYS = {
    PLACE: "It compares published places and diameters, no pixels: what lies there is not looked at.",
}
BY_PIXELS = "It compares voxels around lesions; its card says what it learned from."
MEASURED_COLUMNS = ["model", "top-1", "P@10", "20-NN"]
MEASURED = [
    ["x, y, z", ".756", ".726", ".792"],
    ["place", ".792", ".782", ".828"],
    ["the paper, with pixels", ".905", "", ""],
    ["the paper's ImageNet baseline", ".862", "", ""],
]
"""As docs/retrieval.md has them."""


def _measured_by(store: Store, model: str) -> list[list[str]]:
    """Return the rows of a model's own measures; none where it has no metrics.json."""
    model_id = None if model == PLACE else model_id_of(store, model)
    if model_id is None:
        return []
    metrics: dict[str, Any] = {}
    try:
        metrics = json.loads(store.model_file(model_id, "metrics.json"))
    except AbsentError:
        pass
    except StoreError as error:
        return [[f"{model}: metrics.json: {error.what}", "", "", ""]]
    rows = []
    for split in ("val", "test"):
        if found := (metrics.get(split) or {}).get("model"):
            shown = [f"{found[key]:.3f}".removeprefix("0") for key in ("top1", "p_at_10", "nn20")]
            rows.append([f"{model}, {found['queries']} {split} lesions of its store", *shown])
    return rows


def similar_page(
    store: Store, lesion_id: int, found: pd.DataFrame, model: str, *, served: bool = False
) -> bytes:
    """Return the page as HTML; equal versions give equal bytes.

    Args:
        found: rows of `store.similar(lesion_id)`.
        model: the one that found them.
        served: if the page may link to the viewer and to other pages of `deeplesion serve`.

    Raises:
        StoreError, OSError: the store can't be read.
    """
    every = store.lesions().set_index("lesion_id", drop=False)
    shown = every.loc[[lesion_id, *found["lesion_id"].tolist()]]
    size_mm = common_size_mm(shown["long_diameter_mm"])
    pictures = lesion_pictures(store, shown, [size_mm] * len(shown))
    neighbours = [
        (pictures[number], distance)
        for number, distance in zip(found["lesion_id"].tolist(), found["distance"].tolist(), strict=True)
    ]
    measured = [*MEASURED, *_measured_by(store, model)]
    text = PAGES.get_template("similar.html").render(
        number=store.version["version"],
        root=store.objects.root,
        style=source("page.css"),
        own_style=source("lesion_pages.css"),
        query=pictures[lesion_id],
        found=neighbours,
        searched=len(compared_by(store, model).gallery.rows),
        lesions=len(every),
        model=model,
        says=SAYS.get(model, BY_PIXELS),
        models=embedding_models(store),
        size_mm=size_mm,
        measured_columns=MEASURED_COLUMNS,
        measured=measured,
        over_time="sequences" in store.version["tables"],
        served=served,
        source=SOURCE_URL,
        citation=CITATION,
    )
    return text.encode()

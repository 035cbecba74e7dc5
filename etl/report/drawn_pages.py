"""Pages that `deeplesion serve` draws when they are asked for; outlines of masks and positions as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from etl.report.body import positions_json
from etl.report.outlines import outline_voxels
from etl.report.patient_page import patient_page
from etl.report.similar_page import similar_page
from etl.store.lesion_embeddings import PLACE
from etl.store.reader import Store


def _similar(store: Store, lesion_id: int) -> bytes:
    return similar_by(store, lesion_id, PLACE)


def similar_by(store: Store, lesion_id: int, model: str) -> bytes:
    """Return the page of lesions like a lesion by a model. StoreError, ConfigError where there is none."""
    return similar_page(store, lesion_id, store.similar(lesion_id, model=model), model, served=True)


def _patient(store: Store, patient: int) -> bytes:
    return patient_page(store, patient, served=True)


def _outline(store: Store, lesion_id: int) -> bytes:
    return json.dumps(outline_voxels(store.masks, lesion_id)).encode()


JSON = {"outline", "positions"}
"""The kinds that are no pages."""
DRAWN: Mapping[str, Callable[[Store, int], bytes]] = {
    "outline": _outline,
    "patient": _patient,
    "positions": positions_json,
    "similar": _similar,
}
"""By the first part of the address; the second is a number."""


def drawing_of(parts: Sequence[str]) -> Callable[[Store], bytes] | None:
    """Return the function that draws the page of an address; None where there is no such page.

    Args:
        parts: of the address: a kind and a number, for `similar` also a model.
    """
    if len(parts) < 2 or parts[0] not in DRAWN or not (parts[1].isascii() and parts[1].isdigit()):
        return None
    kind, number, *more = parts[0], int(parts[1][:9]), *parts[2:]
    if not more:
        return lambda store: DRAWN[kind](store, number)
    if kind == "similar" and len(more) == 1:
        return lambda store: similar_by(store, number, more[0])
    return None

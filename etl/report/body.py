"""The part of the report about the body: the models of a version, and the positions that one predicts."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl.core.errors import StoreError
from etl.report.charts import Group, Points, bars, scatter
from etl.report.pictures import SPLIT_COLOURS, Picture
from etl.store.body_positions import OK, TABLE
from etl.store.models import models_of
from etl.store.reader import Store
from etl.tables.lesions import SPLITS

CURVES = "curves.svg"
Z_BIN = 0.05


@dataclass(frozen=True)
class ModelShown:
    """A model: its name and id, the path of its folder from the report, and its curves as a URL to embed.

    Attributes:
        failed: reason that its curves can't be shown though it has some, or empty.
    """

    name: str
    model_id: str
    folder: str
    curves: str | None
    failed: str = ""


@dataclass(frozen=True, eq=False)
class Body:
    """Models of the version, and charts of `body_positions`.

    Attributes:
        scored_by: id of the model that scored the slices; empty where they were not scored.
        orders: (judgement, volumes).
        unscored: volumes without positions.
    """

    models: Sequence[ModelShown]
    pictures: Sequence[Picture]
    scored_by: str
    orders: Sequence[tuple[str, str]]
    unscored: int = 0


def body_of(store: Store, lesions: pd.DataFrame) -> Body | None:
    """Return the part; None for a version without models and positions.

    Raises:
        StoreError, OSError: a table can't be read. A model whose curves can't be read only loses these.
    """
    models = [_shown(store, model) for model in models_of(store.version)]
    if TABLE not in store.version["tables"]:
        return Body(models, (), "", ()) if models else None
    positions = store.body_positions()
    recipe: dict[str, Any] = store.version["added_tables"][TABLE].get("recipe") or {}
    orders = positions.drop_duplicates("volume_id")["order"].value_counts()
    listed = [(str(name), f"{count:,}") for name, count in orders.items()]
    pictures = [_against_published(positions, lesions), _along_the_body(positions, lesions)]
    unscored = len(store.version["volumes"]) - int(orders.sum())
    return Body(models, [one for one in pictures if one], str(recipe.get("model", "")), listed, unscored)


def _shown(store: Store, model: Any) -> ModelShown:
    curves, failed = None, ""
    if any(file["path"] == CURVES for file in model["files"]):
        try:
            data = store.model_file(model["model_id"], CURVES)
            curves = "data:image/svg+xml;base64," + base64.b64encode(data).decode()
        except StoreError as error:
            failed = f"{CURVES}: {error.what}; {error.remedy}"
    return ModelShown(model["name"], model["model_id"], f"../../{model['path']}", curves, failed)


def _against_published(positions: pd.DataFrame, lesions: pd.DataFrame) -> Picture | None:
    keys = lesions[["lesion_id", "volume_id", "key_slice_index", "split", "norm_z"]].dropna()
    slices = positions[["volume_id", "slice_index", "norm_z", "order"]].dropna()
    table = keys.merge(
        slices,
        left_on=["volume_id", "key_slice_index"],
        right_on=["volume_id", "slice_index"],
        suffixes=("", "_predicted"),
    ).drop(columns="slice_index")
    if table.empty:
        return None
    by_split = [(split, table[table["split"] == split]) for split in SPLITS]
    by_split = [(split, part) for split, part in by_split if len(part)]
    points = [
        Points(split, part["norm_z"].tolist(), part["norm_z_predicted"].tolist(), SPLIT_COLOURS[split])
        for split, part in by_split
    ]
    said = []
    for split, part in by_split:
        off = float((part["norm_z"] - part["norm_z_predicted"]).abs().mean())
        rank = part["norm_z"].rank().corr(part["norm_z_predicted"].rank())
        said.append(f"{split}: mean error {off:.4f}" + ("" if np.isnan(rank) else f", Spearman {rank:.3f}"))
    return Picture(
        "lesion_positions",
        "z of lesions against z of their slices",
        f"{len(table):,} lesions by their published relative z and the one that the model predicts for their "
        f"key slices; 0 is the head, 1 the feet. {'; '.join(said)}. The model learned from train.",
        table,
        scatter(points, "published relative z", "predicted relative z"),
    )


def _along_the_body(positions: pd.DataFrame, lesions: pd.DataFrame) -> Picture | None:
    trusted = positions.loc[positions["order"] == OK, "norm_z"].dropna()
    published = lesions["norm_z"].dropna()
    if trusted.empty:
        return None
    edges = np.arange(0, 1 + Z_BIN / 2, Z_BIN)
    counts = [np.histogram(np.clip(values, 0, 1), edges)[0] for values in (trusted, published)]
    table = pd.DataFrame({"from_z": edges[:-1].round(2), "slices": counts[0], "lesions": counts[1]})
    groups = [
        Group(f"{name} ({int(count.sum()):,})", count / max(count.sum(), 1) * 100, colour)
        for name, count, colour in zip(
            ("slices", "lesions"), counts, ("colour-blue", "colour-orange"), strict=True
        )
    ]
    left_out = len(positions) - len(trusted)
    return Picture(
        "z_of_slices",
        "Slices and lesions along the body",
        f"Share of {len(trusted):,} slices by predicted, and of {len(published):,} lesions by published "
        f"relative z, in bins of {Z_BIN:g}. {left_out:,} slices of volumes whose order is not ok, or without "
        "a position, are left out.",
        table,
        bars([f"{edge:g}" for edge in table["from_z"]], groups, "relative z (0 head, 1 feet)", "share (%)",
             labels_at="start"),
    )  # fmt: skip


def positions_json(store: Store, number: int) -> bytes:
    """Return mm, relative z, region and order of a volume's slices, for the viewer.

    Args:
        number: of the volume in the table `volumes`.

    Raises:
        StoreError: there is no such volume, or its positions can't be read.
    """
    names = store.volumes(columns=["volume_id"])["volume_id"]
    found: dict[str, Any] = {"mm": [], "norm_z": [], "region": [], "order": ""}
    if TABLE in store.version["tables"] and 0 <= number < len(names):
        rows = store.body_positions(volume_id=str(names.iloc[number]))
        for name in ("mm", "norm_z", "region"):
            found[name] = [None if pd.isna(value) else value for value in rows[name].tolist()]
        found["order"] = "" if rows.empty else str(rows["order"].iloc[0])
    return json.dumps(found, allow_nan=False).encode()

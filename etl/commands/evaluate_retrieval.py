"""Measure how well an embedding finds lesions that are like a lesion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.export.protocol import SPLITS
from etl.report.console.command import job
from etl.report.console.words import Command

if TYPE_CHECKING:
    from etl.derive.retrieval_measures import Labelled

MODELS = ("place", "xyz")


@click.command(cls=Command)
@click.option("--model", default="place", metavar="place|xyz|MODEL", show_default=True, help="See above.")
@click.option("--gallery", required=True, metavar="STORE|CSV", help="Where neighbours are sought.")
@click.option("--queries", metavar="STORE|CSV", help="Lesions whose neighbours are sought.  [default: folds]")
@click.option("--gallery-split", type=click.Choice(SPLITS), help="Only lesions of this split.")
@click.option("--queries-split", type=click.Choice(SPLITS), help="Only lesions of this split.")
@click.option("--learn", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write weights here.")
@job("no file was written")
def main(
    model: str,
    gallery: str,
    queries: str | None,
    gallery_split: str | None,
    queries_split: str | None,
    out: Path | None,
) -> None:
    """Print top-1, P@10, 20-NN vote, macro recall, and place and size error of the ten nearest, as JSON.

    \b
    place  published place and diameters in mm, by weights that were learned on the official validation rows
    xyz    the published place as it is: the floor
    MODEL  the vectors of the table embeddings/MODEL of both stores

    Neighbours are lesions of other patients that have a coarse type; lesions without one are left out.
    Intervals are 95 %, by bootstrap over patients. Without --queries the gallery is its own: five folds of
    whole patients, each answered by the others and by weights learned on the others. --learn writes weights
    learned on the whole gallery. Lesions of a store without a vector of MODEL are never found, and as queries
    they find nothing, which counts as wrong: `without_vector` says how many there are. A CSV has the columns
    of the release's DL_info.csv; nothing else is read. Measures of other models, most of them on the
    release's test rows, are printed as `reference`.

    \b
      deeplesion evaluate-retrieval --gallery DL_info.csv --gallery-split val
      deeplesion evaluate-retrieval --model place --gallery val.csv --queries test.csv
      deeplesion evaluate-retrieval --gallery build/store --gallery-split val --queries-split test \\
          --queries build/store

    \b
    Exit codes: 0  done
                2  wrong arguments, files or store
                130  interrupted; no file was written
                143  terminated; no file was written
    """
    import json

    from etl.derive.place_model import encode, learn, made_of, read_place_model, xyz
    from etl.derive.retrieval_measures import REFERENCE, answer, by_folds, summarize, vectors
    from etl.report.console.output_file import write_output

    if queries is None and queries_split is not None:
        raise click.UsageError("--queries-split goes with --queries, which may be the gallery again")
    rows = _labelled(gallery, gallery_split, model)
    if queries is None and len(set(rows.lesions.patient.tolist())) < 2:
        raise click.BadParameter(
            f"all lesions of {gallery!r} are of one patient, and neighbours are of others: name --queries",
            param_hint="--gallery",
        )
    fixed = xyz if model == "xyz" else vectors
    if out is not None:
        made = made_of(gallery, gallery_split, len(rows.coarse_type))
        write_output(out, encode(learn(rows.lesions, rows.coarse_type, made)), "the file of weights")
    asked = rows if queries is None else _labelled(queries, queries_split, model)
    if queries is None:
        answers = by_folds(rows, lambda part: learn(*part).embed if model == "place" else fixed)
        weights = None
    else:
        committed = read_place_model()
        embed, weights = (committed.embed, committed.made) if model == "place" else (fixed, None)
        if model not in MODELS:
            _check_comparable({gallery: rows, queries: asked}, model)
        answers = answer(rows, asked, embed)
    without = {} if model in MODELS else {"without_vector": _without_vector(gallery=rows, queries=asked)}
    measures = {"model": model, **summarize(answers), **without, "weights": weights, "reference": REFERENCE}
    click.echo(json.dumps(measures, indent=1))


def _without_vector(**parts: Labelled) -> dict[str, int]:
    from etl.derive.nearest import usable
    from etl.derive.retrieval_measures import vectors

    return {name: int((~usable(vectors(part.lesions))).sum()) for name, part in parts.items()}


def _check_comparable(parts: dict[str, Labelled], model: str) -> None:
    """Raise BadParameter where the vectors of two stores are of two models, or of two lengths."""
    from etl.derive.nearest import usable
    from etl.derive.retrieval_measures import vectors
    from etl.store.lesion_embeddings import model_id_of
    from etl.store.reader import open_store

    made_by = {place: model_id_of(open_store(place), model) for place in parts}
    lengths = {
        place: f"vectors of {found.shape[1]} numbers"
        for place, found in ((place, vectors(part.lesions)) for place, part in parts.items())
        if usable(found).any()
    }
    for says in ({place: own for place, own in made_by.items() if own}, lengths):
        if len(set(says.values())) > 1:
            found = ", ".join(f"{own} in {place}" for place, own in says.items())
            raise click.BadParameter(
                f"vectors of two models can't be compared: {found}", param_hint="--model"
            )


def _labelled(place: str, split: str | None, model: str) -> Labelled:
    from etl.derive.lesion_arrays import lesion_arrays
    from etl.derive.retrieval_measures import Labelled
    from etl.release.annotations import parse_annotations
    from etl.store.lesion_embeddings import embeddings_of
    from etl.store.reader import open_store

    own = None if model in MODELS else model
    if place.lower().endswith(".csv"):
        path = Path(place)
        if not path.is_file():
            raise click.BadParameter(f"there is no file {place!r}")
        if own is not None:
            raise click.BadParameter(f"a CSV has no vectors of the model {model!r}: name stores")
        lesions = parse_annotations(path.read_bytes(), path.name).lesions
    else:
        lesions = open_store(place).lesions()
    chosen = lesions[lesions["coarse_type_code"].notna() & (lesions["split"] == (split or lesions["split"]))]
    if chosen.empty:
        raise click.BadParameter(
            f"no lesion of {place!r} has a coarse type" + (f" in {split}" if split else "")
        )
    chosen = chosen.sort_values(["patient_index", "lesion_id"])
    embedding = None if own is None else embeddings_of(open_store(place), own, chosen)
    return Labelled(lesion_arrays(chosen, embedding), chosen["coarse_type_code"].to_numpy("int64"))

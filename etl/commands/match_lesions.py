"""Find the same lesion over time: group a patient's lesions of all studies into sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from etl.core.counted import counted
from etl.report.console.command import job, print_done
from etl.report.console.words import Command

ALGORITHMS = ("mutual", "paper")


@click.command(cls=Command)
@click.argument("store")
@click.option(
    "--algorithm", type=click.Choice(ALGORITHMS), default="mutual", show_default=True, help="See above."
)
@click.option(
    "--method",
    default="place",
    show_default=True,
    metavar="place|embedding:MODEL",
    help="What lesions are compared by: the CSV alone, or also the table embeddings/MODEL.",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of deeplesion calibrate-matching.  [default: the committed one]",
)
@job("nothing was published")
def main(store: str, algorithm: Literal["mutual", "paper"], method: str, calibration: Path | None) -> None:
    """Match the lesions of STORE (a path or s3://bucket/prefix); publish the tables `sequences` and `links`.

    \b
    mutual  place, size and position in the image, the studies' common shift removed, groups by mean distance
    paper   Algorithm 1 of Yan et al., CVPR 2018, on the published place

    With --method embedding:MODEL, `mutual` adds the cosine of embeddings; a patient with a lesion that has
    none is matched without. The weight of the cosine is a guess and was not calibrated.

    The new version is its parent with these two tables; where they are there already, nothing is published.
    The whole release takes seconds on one core. Read them with store.sequences(), store.growth() and
    store.table("links"). Measured errors and limits are in docs/matching.md. Study numbers are ordinals
    without dates, and none of this is a clinical assessment.

    \b
      deeplesion match build/store
      dask-submit jobs/match_lesions.py s3://bucket/store --algorithm paper
      deeplesion match build/store --method embedding:imagenet

    \b
    Exit codes: 0  the store has both tables
                2  wrong arguments, store or calibration
                4  the store can't be written after retries
                130  interrupted; nothing was published
                143  terminated; nothing was published
    """
    from etl.derive.lesion_arrays import lesion_arrays
    from etl.derive.match_calibration import COMMITTED, read_calibration
    from etl.derive.sequences import match_lesions
    from etl.publish.add_tables import NewTable, add_tables
    from etl.report.console.versions import store_failures
    from etl.run.logs import start_logging
    from etl.store.lesion_embeddings import embeddings_of
    from etl.store.reader import open_store
    from etl.tables.links import LINKS
    from etl.tables.sequences import SEQUENCES

    kind, _, model = method.partition(":")
    if (kind, bool(model)) not in (("place", False), ("embedding", True)):
        raise click.BadParameter(
            f"{method!r} is neither `place` nor `embedding:MODEL`", param_hint="--method"
        )
    if model and algorithm == "paper":
        raise click.UsageError("--algorithm paper compares published places: use it with --method place")
    start_logging()
    opened = open_store(store)
    lesions = opened.lesions()
    found = match_lesions(
        lesion_arrays(lesions, embeddings_of(opened, model, lesions) if model else None),
        lesions.set_index("lesion_id")["age_years"],
        read_calibration(calibration or COMMITTED),
        algorithm,
        method,
    )
    covered = lesions["lesion_id"].tolist()
    tables = [
        NewTable(SEQUENCES, SEQUENCES.rows(found.sequences), covered),
        NewTable(LINKS, LINKS.rows(found.links), covered),
    ]
    with store_failures(opened.objects):
        version, is_new = add_tables(opened.objects, opened.version, tables)
    names = found.sequences["sequence_id"]
    several = {name for name, studies in zip(names, found.sequences["studies"], strict=True) if studies > 1}
    print_done(
        f"version {version['version']} of {store}"
        + (": " if is_new else " has them already: ")
        + f"{counted(len(covered), 'lesion')} in {counted(len(set(names)), 'sequence')}, "
        f"{len(several):,} over several studies, "
        f"{counted(len(found.links['kept']), 'link')}, {sum(found.links['kept']):,} kept"
    )
    rows = zip(found.sequences["patient_index"], found.sequences["method"], strict=True)
    by_place = {patient for patient, how in rows if method not in how} if model else ()
    if by_place:
        print_done(
            f"{counted(len(by_place), 'patient')} matched by place alone, for lack of a vector of {model}"
        )
    print_done(f"pages: deeplesion patient {store} NUMBER, deeplesion report {store}")

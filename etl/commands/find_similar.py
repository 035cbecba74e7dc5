"""Find the lesions that are most like a lesion, and show them on a page."""

from __future__ import annotations

from pathlib import Path

import click

from etl.export.protocol import SPLITS
from etl.report.console.command import job, version_option
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@click.argument("lesion_id", type=click.IntRange(min=0))
@click.option("-k", "count", type=click.IntRange(1, 1000), default=9, show_default=True, help="How many.")
@click.option("--model", default="place", show_default=True, help="place, or one whose embeddings it has.")
@click.option("--split", type=click.Choice(SPLITS), help="Only lesions of this split.")
@click.option("--same-patient", is_flag=True, help="Also other lesions of the same patient.")
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page of pictures here."
)
@version_option
@job("no page was written")
def main(
    store: str,
    lesion_id: int,
    count: int,
    model: str,
    split: str | None,
    same_patient: bool,
    page: Path | None,
    number: int | None,
) -> None:
    """Print the lesions of STORE (a path or s3://bucket/prefix) that are nearest to LESION_ID, as CSV.

    The model `place` compares published places and diameters; it works on every store. Another model
    compares by its table `embeddings/MODEL`. The search is exact: equal distances are ordered by lesion_id,
    and lesions without an embedding are never found. Lesions of other patients are sought unless
    --same-patient is given. The page is one HTML file that works offline: the lesion and those found in
    their display windows, with RECIST diameters, box, type, size, place and distance. How good the models
    are is in docs/retrieval.md. None of this is a clinical assessment.

    \b
      deeplesion similar build/store 17
      deeplesion similar build/store 17 -k 20 --split test --page build/similar.html

    \b
    Exit codes: 0  done
                2  no such store, version, lesion or model, or the page can't be written
                130  interrupted; no page was written
                143  terminated; no page was written
    """
    from etl.report.csv_cells import to_csv
    from etl.store.reader import open_store
    from etl.store.versions import readable

    opened = open_store(store, number)
    with readable(opened.objects):
        found = opened.similar(lesion_id, count, model=model, split=split, same_patient=same_patient)
        if page is not None:
            from etl.report.console.output_file import write_output
            from etl.report.similar_page import similar_page

            write_output(page, similar_page(opened, lesion_id, found, model), "the page")
    click.echo(to_csv(found).decode(), nl=False)

"""Show a patient's lesions over all studies on a page."""

from __future__ import annotations

from pathlib import Path

import click

from etl.report.console.command import job, print_done, version_option
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@click.argument("patient", type=click.IntRange(min=1))
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page here.  [default: patient_PPPPPP.html]",
)
@version_option
@job("no page was written")
def main(store: str, patient: int, page: Path | None, number: int | None) -> None:
    """Write a page of PATIENT's lesions in STORE (a path or s3://bucket/prefix), as they were matched.

    Studies are columns, lesions pictures in their display windows, and links lines with distances; then comes
    the graph of all links, and diameters with their change as RECIST 1.1 counts it. The store needs the
    tables of deeplesion match. The page is one HTML file that works offline. deeplesion serve shows
    the same pages at /patient/N. Study numbers are ordinals without dates, and none of this is a clinical
    assessment.

    \b
      deeplesion patient build/store 569 --page build/patient.html

    \b
    Exit codes: 0  written
                2  no such store, version or patient, not matched yet, or the page can't be written
                130  interrupted; no page was written
                143  terminated; no page was written
    """
    from etl.report.console.output_file import write_output
    from etl.report.patient_page import patient_page
    from etl.store.reader import open_store
    from etl.store.versions import readable

    opened = open_store(store, number)
    with readable(opened.objects):
        content = patient_page(opened, patient)
    page = page or Path(f"patient_{patient:06d}.html")
    write_output(page, content, "the page")
    print_done(f"{page}: {len(content):,} bytes")

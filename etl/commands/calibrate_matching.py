"""Calibrate the matching of lesions over time on known pairs, or score the committed calibration."""

from __future__ import annotations

from pathlib import Path

import click

from etl.report.console.command import job
from etl.report.console.words import Command

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("annotations", type=_FILE)
@click.argument("pairs", type=_FILE)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the calibration here.")
@click.option("--evaluate", "only_score", is_flag=True, help="Score the committed calibration instead.")
@click.option("--calibration", type=_FILE, help="Score this calibration file instead of the committed one.")
@job("no file was written")
def main(
    annotations: Path, pairs: Path, out: Path | None, only_score: bool, calibration: Path | None
) -> None:
    """Learn the weights and thresholds of matching from DL_info.csv and pairs that DLT published.

    ANNOTATIONS is DL_info.csv or a part of it with all rows of the pairs' patients; PAIRS is a JSON file of
    DLT. Prints the measures of `mutual` and `paper` as JSON. Each patient is scored by a calibration that was
    made without it (five folds of whole patients). --out writes the calibration made of all patients. With
    --evaluate nothing is learned, and the committed calibration is scored on these pairs.

    top1 takes each listed pair across two studies, in both directions, and asks whether the nearest of all
    rows of the other study is of the lesion's known sequence. A row of no known sequence is an error in top1
    and is left out of top1_of_known. In precision a pair is wrong if it is certainly two lesions, seen side
    by side in one study; other unlisted pairs are unknown, and counted apart. Intervals are 95 %, by
    bootstrap over patients. A measure of nothing is null. Pairs whose rows are absent, rejected or not of one
    patient are counted as not_joined. None of this is a clinical assessment.

    \b
      deeplesion calibrate-matching DL_info.csv valid.json --out etl/derive/match_calibration.json
      deeplesion calibrate-matching DL_info.csv test.json --evaluate

    \b
    Exit codes: 0  done
                2  wrong arguments or files
                130  interrupted; no file was written
                143  terminated; no file was written
    """
    import json

    from etl.derive.known_pairs import read_known_pairs
    from etl.derive.lesion_arrays import lesion_arrays
    from etl.derive.match_calibration import COMMITTED, encode, read_calibration
    from etl.derive.match_fit import calibrate, cross_validate, known_patients, score
    from etl.release.annotations import parse_annotations
    from etl.report.console.output_file import write_output

    if calibration is not None and not only_score:
        raise click.UsageError("--calibration goes with --evaluate")
    if out is not None and only_score:
        raise click.UsageError("--out goes without --evaluate, which learns nothing to write")
    parsed = parse_annotations(annotations.read_bytes(), annotations.name)
    lesions = parsed.lesions
    known = read_known_pairs(pairs.read_bytes(), pairs.name, lesions)
    patients = known_patients(lesion_arrays(lesions), known)
    if only_score:
        result = score(patients, read_calibration(calibration or COMMITTED))
    else:
        if out is not None:
            made = calibrate(patients, {"annotations": annotations, "pairs": pairs})
            write_output(out, encode(made), "the calibration")
        result = cross_validate(patients)
    counted = {"listed": known.listed, "joined": len(known.pairs), "not_joined": known.not_joined}
    rows = {"read": parsed.row_count, "rejected": len(parsed.rejects)}
    click.echo(json.dumps({**result, "pairs": counted, "rows": rows}, indent=1, allow_nan=False))

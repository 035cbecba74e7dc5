"""Write the synthetic release; phantom.json marks it as complete."""

from __future__ import annotations

import json
import os
import shutil
import stat
from bisect import bisect
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from etl.core.errors import ConfigError, StoreError, explained
from etl.phantom.archives import ArchiveWriter, all_slices, archive_name, archive_parts, mac_file
from etl.phantom.looks import looks_patients
from etl.phantom.plan import plan_release
from etl.phantom.rows import csv_row, format_rows
from etl.phantom.slices import draw_slice, encode_png
from etl.phantom.truth import PhantomTruth, phantom_truth
from etl.phantom.whole_bodies import whole_body_patients
from etl.release.names import is_ignorable, slice_name

PHANTOM_VERSION = 1
TRUTH_NAME = "phantom.json"
PARTIAL_NAME = ".phantom.partial"
CSV_NAME = "DL_info.csv"


def _own_entries(out: Path) -> list[Path]:
    """Return the entries of a folder that have names of a release."""
    return [
        path
        for path in out.iterdir()
        if path.name in (CSV_NAME, "Images_png")
        or (path.name.startswith("Images_png_") and path.name.endswith(".zip"))
    ]


def _stamp(out: Path) -> dict[str, Any] | None:
    """Return the content of phantom.json; None if it is absent or invalid."""
    try:
        found = json.loads((out / TRUTH_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "phantom_version" in found else None


def is_written(out: Path, truth: PhantomTruth) -> bool:
    """Return True if `out` holds the complete release of `truth`: every file with its recorded size."""
    stamp = _stamp(out)
    if stamp is None or stamp["phantom_version"] != PHANTOM_VERSION or "files" not in stamp:
        return False
    if stamp["truth"] != json.loads(json.dumps(asdict(truth))):
        return False
    return all(
        (out / name).is_file() and (out / name).stat().st_size == size
        for name, size in stamp["files"].items()
    )


def _release_files(out: Path) -> dict[str, int]:
    """Return the bytes of each file with a name of the release, by name relative to `out`; -1 for links."""
    found = {}
    for top in _own_entries(out):
        for path in (top, *(() if top.is_symlink() else top.rglob("*"))):
            state = path.lstat()
            if not stat.S_ISDIR(state.st_mode):
                size = state.st_size if stat.S_ISREG(state.st_mode) else -1
                found[path.relative_to(out).as_posix()] = size
    return found


def _check_own(out: Path) -> None:
    """Raise ConfigError where `out` has files of a release that phantom.json lacks, or of another size."""
    stamp = _stamp(out)
    if stamp is None:
        foreign = sorted(entry.name for entry in out.iterdir() if entry.name != PARTIAL_NAME)
    else:
        written = stamp.get("files", {})
        files = sorted(_release_files(out).items())
        foreign = [name for name, size in files if written.get(name) != size and not is_ignorable(name)]
    if foreign:
        raise ConfigError(
            "the folder holds something that isn't a synthetic release",
            where=str(out),
            value=foreign[:3],
            allowed="a new or empty folder, or one whose archives, slices and DL_info.csv this job wrote",
            remedy="name another folder, or empty this one yourself; nothing was written",
        )


def _replace(out: Path, partial: Path) -> None:
    """Move the files of `partial` to `out`, phantom.json first, instead of an older synthetic release."""
    for path in _own_entries(out):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in sorted(partial.iterdir(), key=lambda entry: entry.name != TRUTH_NAME):
        os.replace(path, out / path.name)
    partial.rmdir()


def _write_slices(out: Path, truth: PhantomTruth) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """Write the archives and, if requested, the extracted slices.

    Returns:
        Sizes of the files by name relative to `out`, and the rows of the CSV.
    """
    further = (*looks_patients(truth.looks, truth.seed), *whole_body_patients(truth.whole_bodies))
    release = plan_release(truth.patients, truth.seed, truth.followups, further)
    cuts = archive_parts([len(series.slices()) for series in release], truth.archives)
    files: dict[str, int] = {}
    rows: list[tuple[str, ...]] = []
    numbered = enumerate(all_slices(release))
    for part, members in groupby(numbered, key=lambda item: bisect(cuts, item[0])):
        path = out / archive_name(part + 1)
        with ArchiveWriter(path, deflated=part % 2 == 0) as archive:
            for position, (series, run, index) in members:
                stored = draw_slice(series, run, index, truth.seed)
                contents = [(slice_name(series.key, index), encode_png(stored))]
                if position == 0:
                    contents.append(mac_file(series, index))
                for name, data in contents:
                    archive.add(name, data)
                    if truth.extracted:
                        target = out / "Images_png" / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(data)
                        files[f"Images_png/{name}"] = len(data)
                rows += [
                    csv_row(series, run, planned, lesion, stored)
                    for planned, lesion in zip(run.plan.lesions, run.lesions, strict=True)
                    if planned.slice_index == index
                ]
        files[path.name] = path.stat().st_size
    return files, rows


def write_phantom(
    out: Path,
    *,
    patients: int = 8,
    archives: int = 3,
    seed: int = 0,
    extracted: bool = False,
    followups: int = 0,
    looks: int = 0,
    whole_bodies: int = 0,
) -> PhantomTruth:
    """Write a synthetic release, or leave it unchanged if `out` already holds it.

    Equal arguments give equal bytes with the same versions of numpy, Pillow and zlib. All files are written
    to a hidden folder in `out` first and then moved, so that a run that was killed leaves no file that
    phantom.json does not name; an incomplete release is written again.

    Args:
        out: a folder: new, empty, or with no files of a release but those that this function wrote. Files
            with other names stay.
        patients: 1 gives one series of 13 slices; 8 give everything that `plan` lists.
        archives: number of zips; odd ones are deflated, even ones stored.
        seed: changes noise, bodies, and the lesions' positions by parts of a voxel.
        extracted: also write the slices as files.
        followups: how often each patient is imaged again, with lesions that grow or shrink; 0 to 3.
        looks: further patients whose lesions have types by look or by place.
        whole_bodies: patients after these, each imaged from the lungs to the hips with lesions all along.

    Raises:
        ConfigError: an argument is out of range, or `out` holds something else.
        StoreError: `out` can't be written.
    """
    truth = phantom_truth(
        patients=patients,
        archives=archives,
        seed=seed,
        extracted=extracted,
        followups=followups,
        looks=looks,
        whole_bodies=whole_bodies,
    )
    with explained(
        StoreError,
        "the synthetic release can't be written",
        where=str(out),
        remedy="name a writable folder on a disk with free space",
    ):
        if not is_written(out, truth):
            out.mkdir(parents=True, exist_ok=True)
            _check_own(out)
            partial = out / PARTIAL_NAME
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            files, rows = _write_slices(partial, truth)
            table = format_rows(rows)
            (partial / CSV_NAME).write_bytes(table)
            files[CSV_NAME] = len(table)
            stamp = {"phantom_version": PHANTOM_VERSION, "truth": asdict(truth), "files": files}
            (partial / TRUTH_NAME).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
            _replace(out, partial)
    return truth

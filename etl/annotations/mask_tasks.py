"""Tasks that read masks: those of a few volumes each, joined to lesions and stored as labels.

A volume's masks are one part: its labels and their receipt are there whole or not at all. The receipt keeps
what became of each file, so that a run that goes on, or the same run again, reads no mask twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from etl.annotations.entries import Fault, FaultyEntry, MaskEntry
from etl.annotations.joined import JoinedMask, StoredMask
from etl.annotations.mask_files import MaskFile, read_files, readable_files
from etl.annotations.mask_joins import JOIN_VERSION, PlacedMask, join_mask, place_mask
from etl.annotations.nifti import MASK_BYTES
from etl.annotations.printed_rows import PrintedRow, Rows
from etl.annotations.uls23_masks import read_uls23_mask
from etl.imaging.box_masks import BoxMask, clip_to, to_stored_grid
from etl.io.opening import open_objects
from etl.store.label_images import SOURCE_SUFFIX, Grid, LesionMask, labels_path
from etl.store.labels import LABELS_VERSION, find_labels, image_names, write_labels
from etl.store.layout import LABELS

MaskOutcome = JoinedMask | FaultyEntry


@dataclass(frozen=True)
class MaskPart:
    """The masks of one volume: their files, the rows of their key slices, and the volume's grid.

    Attributes:
        volume_id: the volume, or without a store the sub-volume.
        files: one or more.
        rows: lesions of the files' key slices.
        grid: None without a store.
    """

    volume_id: str
    files: tuple[MaskFile, ...]
    rows: tuple[PrintedRow, ...]
    grid: Grid | None

    @property
    def bytes(self) -> int:
        """Bytes of its files, packed or not."""
        return sum(file.bytes for file in self.files)

    @property
    def is_sequential(self) -> bool:
        """True if the place of one of its files can only be read from the beginning."""
        return any(file.is_sequential for file in self.files)


@dataclass(frozen=True)
class PartResult:
    """The results for the files of a part, in their order, and its labels' entry in a version, or None."""

    outcomes: tuple[MaskOutcome, ...]
    labels: Mapping[str, Any] | None


@dataclass(frozen=True)
class MaskReader:
    """Reads, joins and stores the masks of some parts; a value that travels to workers.

    Attributes:
        source: name of the source in the config.
        store: path or URL, which every worker reaches; None to join only.
    """

    source: str
    store: str | None

    def __call__(self, parts: tuple[MaskPart, ...]) -> tuple[PartResult, ...]:
        """Return a result for each part.

        Raises:
            OSError: a place or the store can't be read or written; worth a retry.
        """
        with readable_files([file for part in parts for file in part.files]) as files:
            found = iter(files)
            ranges = [[next(found) for _ in part.files] for part in parts]
            return tuple(self._read(part, own) for part, own in zip(parts, ranges, strict=True))

    def _read(self, part: MaskPart, ranges: Sequence[MaskFile]) -> PartResult:
        data = read_files(ranges)
        grid = part.grid
        if self.store is None or grid is None:
            return PartResult(tuple(outcome for outcome, _ in _joined(part, data)), None)
        objects, fingerprint = open_objects(self.store), _fingerprint(self.source, part, data)
        receipt = find_labels(objects, part.volume_id, fingerprint)
        if receipt is not None:
            by_id = {row.lesion_id: row for row in part.rows}
            return PartResult(tuple(_from_json(item, by_id) for item in receipt.masks), receipt.entry)
        joined = _joined(part, data)
        masks = [
            mask
            for outcome, placed in joined
            if isinstance(outcome, JoinedMask) and placed is not None
            if (mask := _lesion_mask(outcome, placed, grid)) is not None
        ]
        if not masks:
            return PartResult(tuple(outcome for outcome, _ in joined), None)
        images = {mask.file: name for mask, name in zip(masks, image_names(masks), strict=True)}
        by_file = {mask.file: mask for mask in masks}
        path = labels_path(part.volume_id, fingerprint)
        outcomes = tuple(
            replace(
                outcome, stored=_stored(part.volume_id, path, images[outcome.where], by_file[outcome.where])
            )
            if isinstance(outcome, JoinedMask) and outcome.where in by_file
            else outcome
            for outcome, _ in joined
        )
        as_json = [_as_json(outcome) for outcome in outcomes]
        return PartResult(
            outcomes, write_labels(objects, grid, self.source, fingerprint, masks, as_json).entry
        )


def task_bytes(parts: Sequence[MaskPart]) -> int:
    """Return the peak memory of a task: one mask, its files packed and unpacked, and a part's labels."""
    return MASK_BYTES + max(3 * part.bytes + (len(part.files) << 20) for part in parts)


def _joined(part: MaskPart, data: Sequence[bytes]) -> list[tuple[MaskOutcome, PlacedMask | None]]:
    rows = Rows(part.rows, {})
    found: list[tuple[MaskOutcome, PlacedMask | None]] = []
    for file, raw in zip(part.files, data, strict=True):
        entry = read_uls23_mask(raw, file.stem)
        outcome = join_mask(entry, rows) if isinstance(entry, MaskEntry) else entry
        placed = None
        if isinstance(outcome, JoinedMask) and isinstance(entry, MaskEntry):
            position = place_mask(entry, outcome.row)
            placed = position if isinstance(position, PlacedMask) else None
        assert isinstance(outcome, (JoinedMask, FaultyEntry)), "files of a part have rows on their key slice"
        found.append((outcome, placed))
    return found


def _lesion_mask(outcome: JoinedMask, placed: PlacedMask, grid: Grid) -> LesionMask | None:
    """Return a mask in both grids of its volume; slices that the volume lacks are left out."""
    z, y, x = placed.start
    source = clip_to(BoxMask(placed.voxels, (z - grid.slice_first, y, x)), grid.source_shape)
    if source is None:
        return None
    stored = to_stored_grid(
        source, grid.source_shape, grid.source_spacing_mm, grid.spacing_mm, is_3d=outcome.is_3d
    )
    return LesionMask(outcome.row.lesion_id, outcome.where, outcome.is_3d, source, stored)


def _stored(volume_id: str, path: str, image: str, mask: LesionMask) -> StoredMask:
    return StoredMask(
        volume_id,
        f"{path}/{LABELS}/{image}",
        f"{path}/{LABELS}/{image}{SOURCE_SUFFIX}",
        mask.stored.count,
        (*mask.stored.start, *mask.stored.stop),
        (*mask.source.start, *mask.source.stop),
    )


def _fingerprint(source: str, part: MaskPart, data: Sequence[bytes]) -> str:
    """Return 16 hex digits over the files' bytes, the rows, the volume, and the versions of the code."""
    sums = [hashlib.sha256(raw).hexdigest() for raw in data]
    files = [[file.stem, found] for file, found in zip(part.files, sums, strict=True)]
    content = [LABELS_VERSION, JOIN_VERSION, source, asdict(part.grid) if part.grid else None, files]
    content.append([asdict(row) for row in part.rows])
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_json(outcome: MaskOutcome) -> dict[str, Any]:
    """Return an outcome as plain JSON types, a lesion by its number."""
    fields = asdict(outcome)
    if isinstance(outcome, JoinedMask):
        fields["row"] = outcome.row.lesion_id
    return fields


def _from_json(fields: Mapping[str, Any], rows: Mapping[int, PrintedRow]) -> MaskOutcome:
    """Return the outcome of which `_as_json` made these fields."""
    if "reason" in fields:
        return FaultyEntry(fields["where"], Fault(fields["reason"]), fields["message"])
    stored = fields["stored"]
    place = stored and StoredMask(
        **{**stored, "bounds": tuple(stored["bounds"]), "source_bounds": tuple(stored["source_bounds"])}
    )
    residual = tuple(fields["residual_px"])
    return JoinedMask(**{**fields, "row": rows[fields["row"]], "residual_px": residual, "stored": place})

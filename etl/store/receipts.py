"""Receipts: the proof that a volume is there whole, and the record of a run that had to be split."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from etl.core.errors import StoreError
from etl.imaging.body import MASK_DTYPE, SLICE_MASKS_DTYPE
from etl.imaging.hounsfield import HuStatistics
from etl.io.places import ObjectInfo, Objects, object_info
from etl.store.layout import CONTRACT_VERSION, RECEIPT, SPLIT_RECORD, Shape, Spacing, to_json, volume_path

# Of a large object, read at once for its SHA-256.
PIECE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Receipt:
    """What was written, complete and right: the last object of a volume.

    Attributes:
        volume_id, fingerprint: which volume.
        shape, spacing_mm: of the stored voxels (z, y, x).
        hu: of the stored voxels.
        slice_hu: of each source slice as it was read, before clipping.
        slice_masks: where the body lies in each source slice: `SLICE_MASKS_DTYPE`, (slices,); (0,) in
            a receipt from before it was measured.
        objects: every other object of the volume, path relative to the volume.
    """

    volume_id: str
    fingerprint: str
    shape: Shape
    spacing_mm: Spacing
    hu: HuStatistics
    slice_hu: tuple[HuStatistics, ...]
    slice_masks: np.ndarray
    objects: tuple[ObjectInfo, ...]
    _entry: ObjectInfo | None = field(default=None, init=False, repr=False)

    @property
    def path(self) -> str:
        return volume_path(self.volume_id, self.fingerprint)

    def to_bytes(self) -> bytes:
        columns = {
            name: [getattr(s, name) for s in self.slice_hu] for name in HuStatistics.__dataclass_fields__
        }
        masks = {
            mask: {name: self.slice_masks[mask][name].tolist() for name in MASK_DTYPE.names or ()}
            for mask in SLICE_MASKS_DTYPE.names or ()
        }
        fields = {
            "contract_version": CONTRACT_VERSION,
            "volume_id": self.volume_id,
            "fingerprint": self.fingerprint,
            "shape": self.shape,
            "spacing_mm": self.spacing_mm,
            "hu": asdict(self.hu),
            "slice_hu": columns,
            "slice_masks": masks,
            "objects": [asdict(item) for item in self.objects],
        }
        if not len(self.slice_masks):
            del fields["slice_masks"]
        data = to_json(fields)
        self._keep_entry(data)
        return data

    @staticmethod
    def from_bytes(data: bytes) -> Receipt:
        """Raises ValueError, KeyError or TypeError where the bytes are not a receipt."""
        fields = json.loads(data)
        columns = fields["slice_hu"]
        rows = tuple(zip(*(columns[name] for name in HuStatistics.__dataclass_fields__), strict=True))
        measured = (SLICE_MASKS_DTYPE.names or ()) if "slice_masks" in fields else ()
        masks = np.zeros(len(rows) if measured else 0, SLICE_MASKS_DTYPE)
        for mask in measured:
            for name in MASK_DTYPE.names or ():
                values = fields["slice_masks"][mask][name]
                masks[mask][name] = _integers(values, len(rows), MASK_DTYPE[name])
        receipt = Receipt(
            fields["volume_id"],
            fields["fingerprint"],
            tuple(fields["shape"]),
            tuple(fields["spacing_mm"]),
            HuStatistics(**fields["hu"]),
            tuple(HuStatistics(*row) for row in rows),
            masks,
            tuple(ObjectInfo(**item) for item in fields["objects"]),
        )
        receipt._keep_entry(data)
        return receipt

    def info(self) -> ObjectInfo:
        """The volume as one entry: bytes of all its objects, SHA-256 of its receipt, which lists theirs."""
        if self._entry is None:
            self.to_bytes()
        assert self._entry is not None
        return self._entry

    def _keep_entry(self, data: bytes) -> None:
        """For `info`, while the bytes are at hand: of 20,000 receipts they take half a minute to make."""
        total = len(data) + sum(item.bytes for item in self.objects)
        entry = ObjectInfo(self.path, total, object_info(RECEIPT, data).sha256)
        object.__setattr__(self, "_entry", entry)


def _integers(values: list[int], count: int, dtype: np.dtype[Any]) -> np.ndarray:
    wide = np.array(values)
    if wide.shape != (count,) or wide.dtype != np.int64 or (wide != wide.astype(dtype)).any():
        raise ValueError(f"not {count} numbers of {dtype}")
    return wide


@dataclass(frozen=True, eq=False)
class FoundReceipt:
    """The receipt of a volume whose objects are all there, each of its size.

    Attributes:
        is_last: none of them was written after it, so they are what it tells of. Else that is to be proven.
    """

    receipt: Receipt
    is_last: bool


def find_receipt(objects: Objects, volume_id: str, fingerprint: str) -> FoundReceipt | None:
    """The receipt of a volume that is there whole: all was measured, every object of its size. Else None.

    One object is read and one folder listed; nothing is written.
    """
    path = volume_path(volume_id, fingerprint)
    try:
        receipt = Receipt.from_bytes(objects.read(f"{path}/{RECEIPT}"))
        if (receipt.volume_id, receipt.fingerprint) != (volume_id, fingerprint) or not receipt.objects:
            return None
        if len(receipt.slice_masks) != len(receipt.slice_hu):
            return None
        listed = objects.listed(path)
        if any(listed[item.path].bytes != item.bytes for item in receipt.objects):
            return None
        written = max(listed[item.path].written_s for item in receipt.objects)
        return FoundReceipt(receipt, is_last=written <= listed[RECEIPT].written_s)
    except (FileNotFoundError, NotADirectoryError, StoreError, ValueError, KeyError, TypeError):
        return None


def prove(objects: Objects, found: FoundReceipt) -> bool:
    """Is every object of the volume the one that its receipt tells of?

    Where it isn't known already all are read, and a receipt that is right is written anew, so that it is the
    last again and the next look costs no reading.

    Raises:
        OSError: the store can't be read or written.
    """
    if found.is_last:
        return True
    receipt = found.receipt
    try:
        for item in receipt.objects:
            if _sha256(objects, f"{receipt.path}/{item.path}", item.bytes) != item.sha256:
                return False
        data = objects.read(f"{receipt.path}/{RECEIPT}")
    except FileNotFoundError:  # it was deleted meanwhile
        return False
    objects.write(f"{receipt.path}/{RECEIPT}", data)
    return True


def _sha256(objects: Objects, name: str, size: int) -> str:
    digest = hashlib.sha256()
    for start in range(0, size, PIECE_BYTES):
        digest.update(objects.read_range(name, start, min(start + PIECE_BYTES, size)))
    return digest.hexdigest()


def read_receipt(objects: Objects, volume_id: str, fingerprint: str) -> Receipt | None:
    """The receipt of a volume that is there whole, and proven to be right. Else None. See `prove`."""
    found = find_receipt(objects, volume_id, fingerprint)
    return found.receipt if found is not None and prove(objects, found) else None


@dataclass(frozen=True)
class SplitRecord:
    """A run that could not be built whole because slices of it are unreadable: what was built instead.

    Attributes:
        parts: (volume_id, fingerprint) of the volumes on either side.
        unreadable: (slice index, reason, message) of the slices between them.
    """

    parts: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[int, str, str], ...]


def write_split(objects: Objects, volume_id: str, fingerprint: str, record: SplitRecord) -> None:
    """Record that a planned run was split, so that the next build need not read it again."""
    objects.write(f"{volume_path(volume_id, fingerprint)}/{SPLIT_RECORD}", to_json(asdict(record)))


def read_split(objects: Objects, volume_id: str, fingerprint: str) -> SplitRecord | None:
    """The record of a split run, or None."""
    try:
        fields = json.loads(objects.read(f"{volume_path(volume_id, fingerprint)}/{SPLIT_RECORD}"))
        parts = tuple((str(volume), str(mark)) for volume, mark in fields["parts"])
        unreadable = tuple(
            (int(index), str(reason), str(text)) for index, reason, text in fields["unreadable"]
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return SplitRecord(parts, unreadable)

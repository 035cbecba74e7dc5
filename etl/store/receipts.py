"""Receipts, which prove that a volume is complete, and records of runs that had to be split."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from etl.core.errors import StoreError
from etl.imaging.body import MASK_DTYPE, SLICE_MASKS_DTYPE
from etl.imaging.hounsfield import HuStatistics
from etl.io.places import ObjectInfo, Objects, object_info
from etl.store.layout import (
    CONTRACT_VERSION,
    GROUP_SUFFIX,
    VOLUMES,
    Shape,
    Spacing,
    receipt_path,
    split_path,
    to_json,
    volume_path,
)
from etl.store.sealed import is_intact, parse_json, read_sealed, sealed


@dataclass(frozen=True, eq=False)
class Receipt:
    """The record of a complete volume; the last of its objects to be written.

    Attributes:
        volume_id, fingerprint: identify the volume.
        shape, spacing_mm: shape and spacing of the stored voxels (z, y, x).
        hu: statistics of the stored voxels.
        slice_hu: statistics of each source slice as read, before clipping.
        slice_masks: where the body lies in each source slice: `SLICE_MASKS_DTYPE`, (slices,); (0,) in
            a receipt from before it was measured.
        objects: every object of the volume's group, path relative to the group.
        contract_version: by which the volume was written.
    """

    volume_id: str
    fingerprint: str
    shape: Shape
    spacing_mm: Spacing
    hu: HuStatistics
    slice_hu: tuple[HuStatistics, ...]
    slice_masks: np.ndarray
    objects: tuple[ObjectInfo, ...]
    contract_version: int = CONTRACT_VERSION
    _entry: ObjectInfo | None = field(default=None, init=False, repr=False)

    @property
    def path(self) -> str:
        path = volume_path(self.volume_id, self.fingerprint)
        return path if self.contract_version > 1 else path.removesuffix(GROUP_SUFFIX)

    def to_bytes(self) -> bytes:
        columns = {
            name: [getattr(s, name) for s in self.slice_hu] for name in HuStatistics.__dataclass_fields__
        }
        masks = {
            mask: {name: self.slice_masks[mask][name].tolist() for name in MASK_DTYPE.names or ()}
            for mask in SLICE_MASKS_DTYPE.names or ()
        }
        fields = {
            "contract_version": self.contract_version,
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
        data = to_json(fields if self.contract_version == 1 else sealed(fields))
        self._keep_entry(data)
        return data

    @staticmethod
    def from_bytes(data: bytes) -> Receipt:
        """Parse a receipt; raise ValueError, KeyError or TypeError if the bytes are none, or were changed."""
        fields = _checked_fields(data)
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
            fields["contract_version"],
        )
        receipt._keep_entry(data)
        return receipt

    def info(self) -> ObjectInfo:
        """Return the volume as one entry: bytes of all objects, SHA-256 of the receipt that lists them."""
        if self._entry is None:
            self.to_bytes()
        assert self._entry is not None
        return self._entry

    def _keep_entry(self, data: bytes) -> None:
        """Keep the entry for `info`: encoding 20,000 receipts again would take half a minute."""
        total = len(data) + sum(item.bytes for item in self.objects)
        entry = ObjectInfo(self.path, total, object_info(self.path, data).sha256)
        object.__setattr__(self, "_entry", entry)


def receipt_objects(data: bytes) -> tuple[ObjectInfo, ...]:
    """Return the objects that a receipt of any group lists, their paths relative to the group.

    Raises:
        ValueError, KeyError, TypeError: the bytes are no receipt, or were changed.
    """
    return tuple(ObjectInfo(**item) for item in _checked_fields(data)["objects"])


def _checked_fields(data: bytes) -> dict[str, Any]:
    """Return the content of a receipt. Those of contract 1 have no checksum of their own."""
    fields = parse_json(data)
    if fields["contract_version"] != 1 and not is_intact(fields):
        raise ValueError("its content is not the one that its own SHA-256 was made of")
    return dict(fields)


def _integers(values: list[int], count: int, dtype: np.dtype[Any]) -> np.ndarray:
    wide = np.array(values)
    if wide.shape != (count,) or wide.dtype != np.int64 or (wide != wide.astype(dtype)).any():
        raise ValueError(f"not {count} numbers of {dtype}")
    return wide


@dataclass(frozen=True, eq=False)
class FoundReceipt:
    """The receipt of a volume whose objects all exist with their sizes.

    Attributes:
        is_last: True if no object was written after it, which proves them; else `prove` has to read them.
    """

    receipt: Receipt
    is_last: bool


def find_receipt(objects: Objects, volume_id: str, fingerprint: str) -> FoundReceipt | None:
    """Return the receipt of a complete volume, whose objects have their sizes; else None.

    This reads one object, lists one folder and writes nothing.
    """
    path = volume_path(volume_id, fingerprint)
    name = receipt_path(path)
    try:
        receipt = Receipt.from_bytes(objects.read(name))
        if (receipt.path, receipt.volume_id) != (path, volume_id) or not receipt.objects:
            return None
        if len(receipt.slice_masks) != len(receipt.slice_hu):
            return None
        folder = f"{VOLUMES}/{volume_id}"
        listed = {f"{folder}/{below}": item for below, item in objects.listed(folder).items()}
        if any(listed[f"{path}/{item.path}"].bytes != item.bytes for item in receipt.objects):
            return None
        written = max(listed[f"{path}/{item.path}"].written_s for item in receipt.objects)
        return FoundReceipt(receipt, is_last=written <= listed[name].written_s)
    except (FileNotFoundError, NotADirectoryError, StoreError, ValueError, KeyError, TypeError):
        return None


def prove(objects: Objects, found: FoundReceipt, piece_bytes: int = 64 << 20) -> bool:
    """Return True if every object of the volume is the one in its receipt.

    If the times of the objects do not prove this, all are read. A correct receipt is then written again, so
    that it is the newest object and the next check reads nothing.

    Args:
        piece_bytes: most bytes that one request reads.

    Raises:
        OSError: the store can't be read or written.
    """
    if found.is_last:
        return True
    receipt = found.receipt
    try:
        for item in receipt.objects:
            if _sha256(objects, f"{receipt.path}/{item.path}", item.bytes, piece_bytes) != item.sha256:
                return False
        data = objects.read(receipt_path(receipt.path))
    except FileNotFoundError:  # it was deleted meanwhile
        return False
    objects.write(receipt_path(receipt.path), data)
    return True


def _sha256(objects: Objects, name: str, size: int, piece_bytes: int) -> str:
    digest = hashlib.sha256()
    for start in range(0, size, piece_bytes):
        digest.update(objects.read_range(name, start, min(start + piece_bytes, size)))
    return digest.hexdigest()


def read_receipt(objects: Objects, volume_id: str, fingerprint: str) -> Receipt | None:
    """Return the receipt of a volume that is complete and proven to be right, else None; see `prove`."""
    found = find_receipt(objects, volume_id, fingerprint)
    return found.receipt if found is not None and prove(objects, found) else None


@dataclass(frozen=True)
class SplitRecord:
    """The volumes that were built instead of a run with unreadable slices.

    Attributes:
        parts: (volume_id, fingerprint) of each volume.
        unreadable: (slice index, reason, message) of each slice between them.
    """

    parts: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[int, str, str], ...]


def write_split(objects: Objects, volume_id: str, fingerprint: str, record: SplitRecord) -> None:
    """Record that a planned run was split, so that the next build does not read it again."""
    objects.write(split_path(volume_id, fingerprint), to_json(sealed(asdict(record))))


def read_split(objects: Objects, volume_id: str, fingerprint: str) -> SplitRecord | None:
    """Return the record of a split run; None where there is none, or it was changed."""
    try:
        fields = read_sealed(objects.read(split_path(volume_id, fingerprint)))
        parts = tuple((str(volume), str(mark)) for volume, mark in fields["parts"])
        unreadable = tuple(
            (int(index), str(reason), str(text)) for index, reason, text in fields["unreadable"]
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return SplitRecord(parts, unreadable)

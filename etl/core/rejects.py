"""Rows of the `rejects` table: everything that is left out of the store, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from etl.core.secrets import without_secrets


class Kind(StrEnum):
    """Kind of thing that was rejected."""

    ROW = "row"
    SLICE = "slice"
    ARCHIVE = "archive"
    VOLUME = "volume"


class Reason(StrEnum):
    """Code of the fault. Values are part of the store's contract: add, never rename."""

    # a row of DL_info.csv
    FIELD_MISSING = "field_missing"
    FIELD_UNPARSABLE = "field_unparsable"
    FIELD_COUNT = "field_count"
    FILE_NAME_MISMATCH = "file_name_mismatch"
    BOX_INVERTED = "box_inverted"
    BOX_OUTSIDE_IMAGE = "box_outside_image"
    KEY_SLICE_OUTSIDE_RANGE = "key_slice_outside_range"
    RANGE_REVERSED = "range_reversed"
    SPACING_NOT_POSITIVE = "spacing_not_positive"
    WINDOW_REVERSED = "window_reversed"
    UNKNOWN_SPLIT = "unknown_split"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_SEX = "unknown_sex"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    DUPLICATE_ROW = "duplicate_row"
    SERIES_MISSING = "series_missing"
    KEY_SLICE_MISSING = "key_slice_missing"
    KEY_SLICE_REJECTED = "key_slice_rejected"

    # an archive
    ARCHIVE_NOT_ZIP = "archive_not_zip"
    ARCHIVE_TRUNCATED = "archive_truncated"
    ARCHIVE_CHECKSUM = "archive_checksum"
    ARCHIVE_CHANGED = "archive_changed"
    ARCHIVE_UNAVAILABLE = "archive_unavailable"

    # a slice
    MEMBER_NAME_UNEXPECTED = "member_name_unexpected"
    MEMBER_UNSUPPORTED = "member_unsupported"
    SLICE_DUPLICATE = "slice_duplicate"
    SLICE_CONFLICT = "slice_conflict"
    SLICE_MISSING = "slice_missing"
    SLICE_NOT_ANNOTATED = "slice_not_annotated"
    SLICE_CRC_MISMATCH = "slice_crc_mismatch"
    SLICE_TRUNCATED = "slice_truncated"
    SLICE_NOT_PNG = "slice_not_png"
    SLICE_NOT_16BIT_GREY = "slice_not_16bit_grey"
    SLICE_SIZE_MISMATCH = "slice_size_mismatch"
    SLICE_TOO_LARGE = "slice_too_large"

    # a volume
    RUN_DISAGREES = "run_disagrees"
    VOLUME_TOO_LARGE = "volume_too_large"
    VOLUME_KILLS_WORKER = "volume_kills_worker"
    VOLUME_TIMED_OUT = "volume_timed_out"
    VOLUME_UNREADABLE = "volume_unreadable"
    VOLUME_NOT_DERIVED = "volume_not_derived"


MOST_CHARACTERS = 1000
"""Longest message of a reject, and longest place; foreign input decides how long they would be."""


@dataclass(frozen=True, order=True, slots=True)
class Reject:
    """One row of the `rejects` table.

    Attributes:
        kind: row, slice, archive or volume.
        reason: the reason code.
        found_in: place in the release: `DL_info.csv row 17`, `Images_png_01.zip: <member>`.
        message: the value found and the values allowed.
        series_id: `PPPPPP_SS_RR`, or empty where it is unknown.
        slice_index: slice number in the series, or -1.
        lesion_id: 0-based row number of the CSV, or -1.
    """

    kind: Kind
    reason: Reason
    found_in: str
    message: str
    series_id: str = ""
    slice_index: int = -1
    lesion_id: int = -1

    def __post_init__(self) -> None:
        """Cut long texts, and leave secrets out of what servers and buckets said about an archive."""
        if self.kind is Kind.ARCHIVE:
            object.__setattr__(self, "message", without_secrets(self.message[: 4 * MOST_CHARACTERS]))
        for name in ("found_in", "message"):
            if len(text := getattr(self, name)) > MOST_CHARACTERS:
                object.__setattr__(self, name, f"{text[: MOST_CHARACTERS - 4]} ...")

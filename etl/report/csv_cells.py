"""Tables as CSV for spreadsheets, in which no text of a release becomes a formula."""

from __future__ import annotations

import pandas as pd

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    quoted = {
        name: column.map(_quoted)
        for name, column in table.items()
        if not pd.api.types.is_numeric_dtype(column)
    }
    text = table.assign(**quoted).to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")


def _quoted(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

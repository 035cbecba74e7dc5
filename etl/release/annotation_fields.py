"""Read the cells of one CSV record as numbers, and collect their problems."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from etl.core.rejects import Reason
from etl.release.csv_records import excerpt

# int() and float() also accept "1_000", other scripts' digits, "nan" and "inf", so the text is checked first.
# A column with a missing value is printed by pandas as 62.0.
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
_FLAGS = {"true": "1", "false": "0"}
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

MAX_MAGNITUDE = 1e6
"""Far above every number of the release; a larger one is damage."""

Value = int | float | str | bool | None


class Problem(NamedTuple):
    """One fault of a row: its reason code, and a text with column, value and the values allowed."""

    reason: Reason
    text: str


class FieldReader:
    """Reader of one record's cells, column by column.

    A method returns None where the cell can't be used, and adds to `problems`; a column that the record lacks
    adds none, as the record has a problem of its own for that. Surrounding spaces are ignored.

    Attributes:
        values: values so far, by their names in the lesions table.
        problems: problems so far, in the order found.
        as_decimals: a whole number was printed as 62.0.
    """

    def __init__(self, cells: Mapping[str, str]) -> None:
        self._cells = cells
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        self.as_decimals = False

    def problem(self, reason: Reason, column: str, what: str, allowed: str) -> None:
        """Add a problem with the cell of `column`; its text shows the cell."""
        printed = excerpt(self._cells.get(column, ""))
        self.problems.append(Problem(reason, f"{column} '{printed}' {what}; allowed: {allowed}"))

    def text(self, column: str, *, optional: bool = False) -> str | None:
        """Return the cell without surrounding spaces; None where it is empty."""
        cell = self._cells.get(column)
        stripped = cell.strip(" ") if cell is not None else ""
        if stripped:
            return stripped
        if cell is not None and not optional:
            self.problem(Reason.FIELD_MISSING, column, "is empty", "a value")
        return None

    def whole_numbers(
        self, column: str, *names: str, low: int | None = None, high: int | None = None
    ) -> tuple[int, ...] | None:
        """Read as many whole numbers as `names`, each in [low, high], in ASCII digits: `62`, `62.0`."""
        texts = self._parts(column, len(names))
        if texts is None:
            return None
        matches = [_WHOLE.fullmatch(text) for text in texts]
        numbers = tuple(int(match[1]) for match in matches if match)
        if len(numbers) < len(names):
            self.problem(Reason.FIELD_UNPARSABLE, column, "is not a whole number", _what("whole", len(names)))
            return None
        self.as_decimals |= any("." in text for text in texts)
        if (low is not None and min(numbers) < low) or (high is not None and max(numbers) > high):
            self.problem(Reason.VALUE_OUT_OF_RANGE, column, "is out of range", f"{low} to {high}")
            return None
        self.values.update(zip(names, numbers, strict=True))
        return numbers

    def whole_number(
        self, column: str, name: str, *, low: int | None = None, high: int | None = None
    ) -> int | None:
        """Read one whole number; see `whole_numbers`."""
        numbers = self.whole_numbers(column, name, low=low, high=high)
        return numbers[0] if numbers else None

    def flag(self, column: str, name: str) -> None:
        """Read 0 or 1, also printed as `False` or `True`."""
        cell = self._cells.get(column, "").strip(" ").lower()
        if cell in _FLAGS:
            self._cells = {**self._cells, column: _FLAGS[cell]}
        self.whole_number(column, name, low=0, high=1)

    def decimals(self, column: str, *names: str) -> tuple[float, ...] | None:
        """Read as many finite decimal numbers as `names`, none larger than `MAX_MAGNITUDE`."""
        texts = self._parts(column, len(names))
        if texts is None:
            return None
        if not all(map(_DECIMAL.fullmatch, texts)):
            self.problem(Reason.FIELD_UNPARSABLE, column, "is not a number", _what("decimal", len(names)))
            return None
        numbers = tuple(map(float, texts))
        if not all(map(math.isfinite, numbers)):
            self.problem(Reason.FIELD_UNPARSABLE, column, "is not finite", _what("finite", len(names)))
            return None
        if max(map(abs, numbers)) > MAX_MAGNITUDE:
            allowed = f"{-MAX_MAGNITUDE:g} to {MAX_MAGNITUDE:g}"
            self.problem(Reason.VALUE_OUT_OF_RANGE, column, "is out of range", allowed)
            return None
        self.values.update(zip(names, numbers, strict=True))
        return numbers

    def _parts(self, column: str, count: int) -> list[str] | None:
        text = self.text(column)
        if text is None:
            return None
        parts = [part.strip(" ") for part in text.split(",")]
        if len(parts) != count:
            allowed = f"{count}, separated by commas"
            self.problem(Reason.FIELD_COUNT, column, f"holds {len(parts)} values", allowed)
            return None
        return parts


def _what(kind: str, count: int) -> str:
    return f"one {kind} number" if count == 1 else f"{count} {kind} numbers"

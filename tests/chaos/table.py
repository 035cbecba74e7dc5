"""The campaign's table: fault, store, times tried, survived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Row = tuple[str, str, int, int]


def campaign_table(rows: Iterable[Row]) -> str:
    """One line a fault and kind of store; rows of the same are added up."""
    tried: Counter[tuple[str, str]] = Counter()
    survived: Counter[tuple[str, str]] = Counter()
    for fault, kind, times, well in rows:
        tried[fault, kind] += times
        survived[fault, kind] += well
    lines = [("fault", "store", "tried", "survived")]
    lines += [(*key, str(tried[key]), str(survived[key])) for key in sorted(tried)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        f"{fault:{widths[0]}}  {kind:{widths[1]}}  {times:>{widths[2]}}  {well:>{widths[3]}}"
        for fault, kind, times, well in lines
    )

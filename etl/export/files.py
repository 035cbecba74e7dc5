"""What an export consists of: files whose bytes are made when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etl.export.selection import Selected
from etl.store.reader import Store


@dataclass(frozen=True)
class ExportFile:
    """One file: its path below the export's folder, and what makes its bytes, always the same ones."""

    path: str
    encode: Callable[[], bytes]


@dataclass(frozen=True)
class Format:
    """One kind of export.

    Attributes:
        files: the files of an export of the selected lesions and volumes of a store.
        description: for the export's README.txt: what the files are and in which coordinates.
        selects: whether a part can be chosen; where not, it is of the whole version.
    """

    files: Callable[[Store, Selected], Sequence[ExportFile]]
    description: str
    selects: bool = True

"""Values that conversion and reuse return: they travel from the workers to the driver."""

from __future__ import annotations

from dataclasses import dataclass

from etl.core.rejects import Reason, Reject
from etl.plan.plan import PlannedVolume
from etl.store.receipts import FoundReceipt, Receipt


@dataclass(frozen=True, eq=False)
class Conversion:
    """The volumes and rejects that one planned run ended in.

    Attributes:
        planned_id: volume_id of the run in the plan.
        built: volumes on the store that cover the run; several, or none, if slices are unreadable.
        converted: number of `built` that were written now; the others existed already.
        rejects: one for each unreadable slice.
        slice_count, source_bytes: size of the run, for progress.
    """

    planned_id: str
    built: tuple[tuple[PlannedVolume, Receipt], ...]
    converted: int
    rejects: tuple[Reject, ...]
    slice_count: int
    source_bytes: int


@dataclass(frozen=True, eq=False)
class Recalled:
    """A planned run that an earlier build converted; everything it wrote is on the store.

    Attributes:
        conversion: the result, with nothing converted now.
        unproven: receipts of its volumes in which an object was written after the receipt.
    """

    conversion: Conversion
    unproven: tuple[FoundReceipt, ...]


@dataclass(frozen=True)
class Lost:
    """The result in place of a Conversion if an archive can't be read any more.

    Attributes:
        container: position of the archive among the plan's containers.
        reason, message: of the rejects for all slices of its volumes.
    """

    container: int
    reason: Reason
    message: str

"""Values that conversion and reuse return; they travel from the workers to the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from etl.core.errors import SliceError
from etl.core.rejects import Kind, Reason, Reject
from etl.plan.plan import PlannedVolume
from etl.release.index import Container
from etl.release.names import slice_name
from etl.store.receipts import FoundReceipt, Receipt

Built = tuple[tuple[PlannedVolume, Receipt], ...]


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
    built: Built
    converted: int
    rejects: tuple[Reject, ...]
    slice_count: int
    source_bytes: int


@dataclass(frozen=True, eq=False)
class Reusable:
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


def conversion_of(
    planned: PlannedVolume,
    containers: Sequence[Container],
    built: Built = (),
    converted: int = 0,
    unreadable: Mapping[int, SliceError] | None = None,
) -> Conversion:
    """Return the conversion of a run, with one reject for each unreadable slice."""
    numbers = dict(zip(planned.slices["index"].tolist(), planned.slices["container"].tolist(), strict=True))
    rejects = tuple(
        Reject(
            Kind.SLICE,
            error.reason,
            f"{containers[numbers[index]].name}: {slice_name(planned.series, index)}",
            error.message,
            str(planned.series),
            index,
        )
        for index, error in (unreadable or {}).items()
    )
    return Conversion(planned.volume_id, built, converted, rejects, len(planned.slices), planned.source_bytes)


def reject_slices(
    planned: PlannedVolume, containers: Sequence[Container], reason: Reason, message: str
) -> Conversion:
    """Return a conversion that rejects every slice of the run, because its archive is lost to this build."""
    error = SliceError(reason, message)
    unreadable = dict.fromkeys(planned.slices["index"].tolist(), error)
    return conversion_of(planned, containers, unreadable=unreadable)


def reject_volume(
    planned: PlannedVolume, containers: Sequence[Container], reason: Reason, message: str
) -> Conversion:
    """Return a conversion that rejects the volume, and with it every slice of its run."""
    rejected = reject_slices(planned, containers, reason, f"its volume is rejected: {reason}")
    whole = Reject(Kind.VOLUME, reason, planned.volume_id, message, str(planned.series))
    return replace(rejected, rejects=(whole, *rejected.rejects))

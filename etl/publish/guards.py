"""The guards that refuse to publish, by name: lost archives, rejects, locations, less than the parent has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from etl.core.config import Limits
from etl.core.counted import NAMES_SHOWN, first_of
from etl.core.errors import GuardError
from etl.core.rejects import Kind, Reason, Reject
from etl.plan.plan import Plan
from etl.publish.assemble import Counts
from etl.store.versions import Version
from etl.tables.locations import Agreement

# (name, type) of each column of a table.
Columns = Sequence[tuple[str, str]]


def check_archives(lost: Sequence[Reject], given: int, limits: Limits) -> None:
    """Raise GuardError where more archives could not be read than `limits.lost_archives`.

    The contents of such an archive may be unknown; they then count for nothing in the shares of rejects.

    Args:
        lost: archives that could not be read.
        given: how many the config names.
    """
    if len(lost) <= limits.lost_archives:
        return
    names = first_of([f"{reject.found_in} ({reject.reason})" for reject in lost], NAMES_SHOWN)
    raise GuardError(
        "archives could not be read; nothing was published, the converted volumes are kept",
        where="source.archives",
        value=f"{len(lost)} of {given}: {names}",
        allowed=f"limits.lost_archives = {limits.lost_archives}",
        remedy="run the same again when they can be read; it continues. Or allow it by name: "
        f"--set limits.lost_archives={len(lost)}",
    )


def check_before_work(plan: Plan, rejects: Sequence[Reject], parent: Version | None, limits: Limits) -> None:
    """Raise one GuardError with all refusals that the CSV and the archives' directories already prove.

    Rejects only become more while a build converts, and lesions only become fewer.

    Args:
        rejects: rejects that are known before any pixel is read.
        parent: current version of the store.
    """
    refusals: list[GuardError] = []
    lost = [reject for reject in rejects if reject.kind is Kind.ARCHIVE]
    try:
        check_archives(lost, len(plan.index.containers), limits)
    except GuardError as error:
        refusals.append(error)
    refusals += _reject_refusals(_known_counts(plan, rejects), limits, rejects)
    if parent is not None:
        most = {"counts": {"lesions": len(plan.selected_lesion_ids)}}
        refusals += _fewer(parent, most, "lesions", limits.allow_fewer_lesions)
    if refusals:
        raise GuardError(
            "; ".join(refusal.what.partition(";")[0] for refusal in refusals) + "; nothing was converted",
            where=", ".join(filter(None, (refusal.where for refusal in refusals))),
            value="; ".join(str(refusal.value) for refusal in refusals),
            allowed="; ".join(dict.fromkeys(refusal.allowed for refusal in refusals)),
            remedy="; ".join(dict.fromkeys(refusal.remedy for refusal in refusals)),
        )


def _known_counts(plan: Plan, rejects: Sequence[Reject]) -> Counts:
    """Return the counts of a build without any further reject."""
    rows = sum(reject.kind is Kind.ROW for reject in rejects)
    slices = [reject.reason for reject in rejects if reject.kind is Kind.SLICE]
    missing = slices.count(Reason.SLICE_MISSING)
    rejected, found = len(slices) - missing, plan.index.found_count
    return Counts(
        volumes=len(plan.volumes),
        patients=len({volume.series.patient for volume in plan.volumes}),
        lesions=plan.annotations.row_count - plan.rows_not_selected - rows,
        rows_rejected=rows,
        rows_not_selected=plan.rows_not_selected,
        rows_found=plan.annotations.row_count,
        slices=found - plan.slices_not_selected - rejected,
        slices_rejected=rejected,
        slices_not_selected=plan.slices_not_selected,
        slices_found=found,
        slices_missing=missing,
        rejects_by_reason=dict(sorted(Counter(str(reject.reason) for reject in rejects).items())),
    )


def check_rejects(counts: Counts, limits: Limits, rejects: Sequence[Reject] = ()) -> None:
    """Raise GuardError where a larger share of rows or slices is rejected than `limits.rejects`.

    Args:
        rejects: those counted, of which the error names the first.
    """
    for refusal in _reject_refusals(counts, limits, rejects):
        raise refusal


def _reject_refusals(counts: Counts, limits: Limits, rejects: Sequence[Reject]) -> Iterator[GuardError]:
    promised = counts.slices + counts.slices_rejected + counts.slices_missing
    for kind, noun, rejected, total in (
        (Kind.ROW, "rows", counts.rows_rejected, counts.lesions + counts.rows_rejected),
        (Kind.SLICE, "slices", counts.slices_rejected + counts.slices_missing, promised),
    ):
        share = rejected / total if total else 0.0
        if share > limits.rejects:
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts.rejects_by_reason.items())
            places = [f"{reject.found_in} ({reject.reason})" for reject in rejects if reject.kind is kind]
            is_memory = Reason.VOLUME_TOO_LARGE in counts.rejects_by_reason
            yield GuardError(
                f"too many {noun} are rejected; nothing was published, the converted volumes are kept",
                where=first_of(places),
                value=f"{rejected} of {total} ({share:.2%}): {reasons}",
                allowed=f"limits.rejects = {limits.rejects:.2%}",
                remedy=("give each worker more memory, " if is_memory else "")
                + "mend the source, or raise the limit by name: --set limits.rejects=SHARE",
            )


def check_locations(found: Agreement, lesions: pd.DataFrame, limits: Limits) -> None:
    """Raise GuardError where a larger share of lesions than the limit disagrees with its slice.

    Args:
        lesions: of the `lesions` table, with pandas' types.
    """
    disagreeing = found.compared - found.agreeing
    share = disagreeing / found.compared if disagreeing else 0.0
    if share <= limits.location_disagreement:
        return
    names = lesions["file_name"][lesions["location_agrees"].eq(False)].tolist()
    raise GuardError(
        "too many published locations are not those of their key slices; nothing was published, the "
        "converted volumes are kept",
        where=first_of(names),
        value=f"{disagreeing} of {found.compared} lesions ({share:.2%})",
        allowed=f"limits.location_disagreement = {limits.location_disagreement:.2%}",
        remedy="see that the CSV and the archives are of one release and no slice is under another's name, "
        "or raise the limit by name: --set limits.location_disagreement=SHARE",
    )


def check_parent(parent: Version | None, body: Version, limits: Limits) -> None:
    """Raise GuardError where the new version would take away what the parent has."""
    if parent is None:
        return
    for noun, allowed in (("volumes", limits.allow_fewer_volumes), ("lesions", limits.allow_fewer_lesions)):
        for refusal in _fewer(parent, body, noun, allowed):
            raise refusal
    before, now = _made_by_builds(parent), _made_by_builds(body)
    changed = [name for name in before | now if before.get(name) != now.get(name)]
    if changed and not limits.allow_schema_change:
        raise GuardError(
            f"the schema of {', '.join(changed)} differs from version {parent['version']}; not published",
            value="; ".join(_schema_change(name, before.get(name), now.get(name)) for name in changed),
            allowed="the columns and types of that version, in its order",
            remedy="allow it by name: --set limits.allow_schema_change=true",
        )


def _made_by_builds(version: Version) -> dict[str, Columns]:
    """Return the columns of each table but those that jobs added."""
    added = version.get("added_tables", {})
    return {name: columns for name, columns in version["schemas"].items() if name not in added}


def _fewer(parent: Version, body: Version, noun: str, is_allowed: bool) -> Iterator[GuardError]:
    before, now = parent["counts"][noun], body["counts"][noun]
    if now < before and not is_allowed:
        yield GuardError(
            f"fewer {noun} than version {parent['version']}; nothing was published",
            value=f"{now}, before {before}",
            allowed=f"at least {before}",
            remedy=f"mend the source, or allow it by name: --set limits.allow_fewer_{noun}=true",
        )


def _schema_change(table: str, before: Columns | None, now: Columns | None) -> str:
    """Describe how a table's columns changed; None stands for a table that is not there."""
    if before is None or now is None:
        return f"{table}: the table is {'new' if before is None else 'dropped'}"
    old, new = dict(before), dict(now)
    parts = {
        "added": [f"{name} {kind}" for name, kind in new.items() if name not in old],
        "dropped": [f"{name} {kind}" for name, kind in old.items() if name not in new],
        "retyped": [f"{n} {old[n]} -> {new[n]}" for n in new if n in old and old[n] != new[n]],
    }
    changes = [f"{what} {', '.join(columns)}" for what, columns in parts.items() if columns]
    return f"{table}: {'; '.join(changes) or 'the same columns in another order'}"

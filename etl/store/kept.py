"""Checks of the versions that stay, before a prune deletes what none of them names.

Deleting by a version that names the wrong objects, or without one that is lost, would delete the right ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etl.core.counted import NAMES_SHOWN, counted, first_of
from etl.core.errors import StoreError
from etl.io.places import Listed, Objects
from etl.store.layout import version_path
from etl.store.named import files_of, groups_of
from etl.store.versions import Version

_LET_GO = "keep fewer versions and remove its tags: deeplesion versions STORE untag NAME"


def check_not_lost(objects: Objects, tagged: set[int], later: Sequence[int]) -> None:
    """Raise StoreError where a version that would stay is gone: what it names can't be known.

    Args:
        tagged: numbers that have a tag and no file.
        later: numbers at or after the first that stays that have a summary and no file.
    """
    lost = sorted(tagged.union(later))
    if lost:
        raise StoreError(
            f"the file of version {lost[0]}, which would stay, is missing; nothing was deleted",
            where=f"{objects.root}/{version_path(lost[0])}",
            value=f"{counted(len(lost), 'version')}: {first_of(lost, NAMES_SHOWN)}",
            allowed="every version that has a tag, or a summary and comes after the first that stays",
            remedy=f"bring the file back from a copy, or {_LET_GO}; without the file, its summary in "
            "versions/summaries is what keeps it, and may be deleted",
        )


def check_same(
    objects: Objects, number: int, sha256: str, named_as: Sequence[tuple[int, str | None]]
) -> None:
    """Raise StoreError where a version is not the one that a tag or the next version names."""
    others = {named for at, named in named_as if at == number and named not in (None, sha256)}
    if others:
        raise StoreError(
            f"version {number} is not the one that a tag or the next version names; nothing was deleted",
            where=f"{objects.root}/{version_path(number)}",
            value=f"SHA-256 {sha256}; allowed: {others}",
            remedy=f"bring the file back from a copy, or {_LET_GO}",
        )


def check_complete(objects: Objects, version: Version, listed: Mapping[str, Mapping[str, Listed]]) -> None:
    """Raise StoreError where a version names a table or volume that the store lacks."""
    names = [item.path for item in files_of(version)] + [group.receipt for group in groups_of(version)]
    missing = [name for name in names if name.partition("/")[2] not in listed[name.partition("/")[0]]]
    if missing:
        raise StoreError(
            f"version {version['version']} stays, and names objects that are missing; nothing was deleted",
            where=objects.root,
            value=f"{counted(len(missing), 'object')}, such as {missing[0]}",
            allowed="every file and receipt of the versions that stay",
            remedy=f"verify that version and repair it, or {_LET_GO}",
        )

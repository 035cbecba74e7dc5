"""The versions of a store: listed with their tags, and found by number, tag or date."""

from __future__ import annotations

import contextlib
import datetime
import operator
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import SupportsIndex

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.layout import SUMMARIES, VERSIONS, version_path
from etl.store.summaries import Summary, read_summary, summary_of
from etl.store.tags import NAME, Tag, names_among, read_tag
from etl.store.versions import Version, numbers_among, read_version, read_with_sha256, readable

_READS_AT_ONCE = 16

MISSING = "its file is missing"
"""The error of a version that a tag or a summary names, and that has no file."""

Wanted = int | str | datetime.datetime | None
"""A version as people name it: its number, a tag, a time at which it was current; None: the current one."""


@dataclass(frozen=True)
class Listing:
    """One listing of the folder `versions`.

    Attributes:
        sizes: bytes of each object, by path relative to the store.
    """

    objects: Objects
    sizes: Mapping[str, int]

    @property
    def numbers(self) -> list[int]:
        """Numbers of all versions, ascending."""
        return numbers_among(self.sizes)

    def lost_from(self, first: int) -> list[int]:
        """Return versions from a number on whose file is gone and whose summary is not.

        A prune removes the summary first.
        """
        names = (name for name in self.sizes if name.startswith(f"{SUMMARIES}/"))
        summarised = numbers_among(name.replace(SUMMARIES, VERSIONS, 1) for name in names)
        return [n for n in summarised if n >= first and version_path(n) not in self.sizes]

    def tags(self) -> list[Tag]:
        """Return all tags, by version and name. Raise StoreError where the file of one is damaged."""
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            tags = list(pool.map(lambda name: read_tag(self.objects, name), names_among(self.sizes)))
        return sorted(tags, key=lambda tag: (tag.number, tag.name))

    def summaries(self, numbers: Iterable[int]) -> list[Summary]:
        """Return the summary of some versions; `version` and `error` of one that can't be read.

        Raises:
            OSError: the store can't be read.
        """
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            return list(pool.map(self._summary, numbers))

    def _summary(self, number: int) -> Summary:
        if version_path(number) not in self.sizes:
            return {"version": number, "error": MISSING}
        found = read_summary(self.objects, number, self.sizes)
        if found is not None:
            return found
        try:
            return summary_of(read_with_sha256(self.objects, number)[0])
        except StoreError as error:
            return {"version": number, "error": error.what}


def list_versions(objects: Objects) -> Listing:
    """List the versions of a store, by one request in a bucket.

    Raises:
        StoreError: there is no store, or it can't be read.
    """
    with readable(objects):
        listed = objects.listed(VERSIONS)
    listing = Listing(objects, {f"{VERSIONS}/{name}": item.bytes for name, item in listed.items()})
    if not listing.numbers:
        raise no_store(objects)
    return listing


def no_store(objects: Objects) -> StoreError:
    """Return the error of a place in which nothing was published."""
    return StoreError(
        "there is no store here, or nothing was published yet",
        where=objects.root,
        allowed=f"a folder with {VERSIONS}/NNNNNN.json",
        remedy="give the store's folder, the `store` of the config that built it, or build one: "
        "deeplesion build CONFIG",
    )


def choose_version(objects: Objects, wanted: Wanted = None) -> int:
    """Return the number of a version that is there, the current one by default.

    Raises:
        StoreError: there is no store, it has no such version or tag, or a tagged version was exchanged.
    """
    number = _find(list_versions(objects), wanted)
    if isinstance(wanted, str):
        with readable(objects):
            _check_tagged(objects, wanted, read_with_sha256(objects, number)[1])
    return number


def read_wanted(objects: Objects, wanted: Wanted = None) -> Version:
    """Return a version, the current one by default. Its file is read once.

    Raises:
        StoreError: there is no store, it has no such version or tag, the version is damaged, or was exchanged
            after it was tagged.
    """
    if wanted is None or isinstance(wanted, int):
        with readable(objects):
            version = read_version(objects, wanted)
        if version is None:
            raise no_store(objects)
        return version
    number = _find(list_versions(objects), wanted)
    with readable(objects):
        version, sha256 = read_with_sha256(objects, number)
        if isinstance(wanted, str):
            _check_tagged(objects, wanted, sha256)
    return version


def parse_wanted(version: object = None, as_of: object = None) -> Wanted:
    """Return a version as people name it: a number or a tag, or a date or time for `as_of`.

    A time without a zone is in UTC; a date is the end of that day.

    Raises:
        ValueError: it is none of these, or both are given.
    """
    if version is not None and as_of is not None:
        raise ValueError("a version and a date are given; allowed: one of the two")
    if as_of is not None:
        return _time(as_of)
    if isinstance(version, datetime.datetime) or version is None:
        return version
    if isinstance(version, str) and version.isdecimal():
        return int(version)
    if isinstance(version, str) and NAME.fullmatch(version):
        return version
    if isinstance(version, SupportsIndex) and not isinstance(version, bool):
        return operator.index(version)
    raise ValueError(
        f"version is {version!r}; allowed: a number, such as 1, a tag, such as 'paper-2026', or None for the "
        "current one"
    )


def _time(value: object) -> datetime.datetime:
    text = str(value).strip()
    with contextlib.suppress(ValueError):
        return datetime.datetime.combine(datetime.date.fromisoformat(text), datetime.time.max, datetime.UTC)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"as_of is {text!r}; allowed: a date or time, such as 2026-01-31T12:00") from error
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _find(listing: Listing, wanted: Wanted) -> int:
    objects, numbers = listing.objects, listing.numbers
    if wanted is None:
        return numbers[-1]
    with readable(objects):
        if isinstance(wanted, datetime.datetime):
            return _current_at(listing, wanted)
        number = wanted if isinstance(wanted, int) else read_tag(objects, wanted).number
    if number not in numbers:
        known = ", ".join(map(str, numbers[-10:]))
        raise StoreError(
            "no such version", where=objects.root, value=wanted, allowed=f"published last: {known}"
        )
    return number


def _check_tagged(objects: Objects, name: str, sha256: str) -> None:
    tag = read_tag(objects, name)
    if sha256 != tag.sha256:
        raise StoreError(
            "the version was exchanged after it was tagged",
            where=f"{objects.root}/{version_path(tag.number)}",
            value=f"SHA-256 {sha256}",
            allowed=f"SHA-256 {tag.sha256}, of {tag.created_at}",
            remedy="bring the file back from a copy",
        )


def _current_at(listing: Listing, when: datetime.datetime) -> int:
    """Return the highest version that was published by then; an error where it is gone or damaged."""
    created_at, later = "", 0
    for number in reversed(listing.numbers):
        (summary,) = listing.summaries([number])
        if "error" in summary:
            raise StoreError(
                "a version that may have been current then can't be read",
                where=f"{listing.objects.root}/{version_path(number)}",
                value=summary["error"],
                remedy="give a number instead: deeplesion versions STORE list shows them with their dates",
            )
        created_at = summary["created_at"]
        if _time(created_at) <= when:
            if later > number + 1:
                raise _removed(listing, when, number + 1, later - 1)
            return number
        later = number
    if later > 1:
        raise _removed(listing, when, 1, later - 1)
    raise StoreError(
        "nothing was published by then",
        where=listing.objects.root,
        value=when.isoformat(),
        allowed=f"{created_at} or later",
    )


def _removed(listing: Listing, when: datetime.datetime, first: int, last: int) -> StoreError:
    """Return the error of a time at which a version may have been current that is not there any more."""
    return StoreError(
        "a version that may have been current then was removed",
        where=listing.objects.root,
        value=f"{when.isoformat()}: version {first}" + (f" to {last}" if last > first else ""),
        allowed="a time at which a version was current that is still there",
        remedy="give a number or a tag instead: deeplesion versions STORE list shows them with their dates",
    )

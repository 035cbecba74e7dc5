"""Read LesaNet's tags, text-mined from reports, and the cache of them that MULAN trains with.

LesaNet: Yan et al., CVPR 2019; `text_mined_labels_171_and_split.json`. For each of its splits there are lists
of rows (0-based, of the release's DL_info.csv), of relevant and of uncertain tags. MULAN: Yan et al., MICCAI
2019; `tags_cache.json`, pairs of a row and its tags, the uncertain ones merged in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etl.annotations.documents import (
    RELEASE_ROWS,
    listing,
    mapping,
    read_each,
    read_json,
    reject,
    text,
    whole,
)
from etl.annotations.entries import Fault, Reading, TagEntry
from etl.core.errors import SourceError

SPLITS = ("train", "val", "test")
_Raw = tuple[Any, Any, Any, str]


def read_lesanet_tags(data: bytes, source: str) -> Reading[TagEntry]:
    """Read LesaNet's file or MULAN's cache, told apart by their keys.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is not one of the two.
    """
    document = read_json(data, source)
    if not isinstance(document, dict):
        raise _unknown(source, f"a {type(document).__name__}")
    if "lesion_tags" in document and "tag_dict_list" in document:
        tags, raw = _mulan(document)
    elif "term_list" in document:
        tags, raw = _lesanet(document, source)
    else:
        raise _unknown(source, ", ".join(map(str, list(document)[:8]))[:200])
    repeats = 0
    seen: set[int] = set()

    def read(where: str, value: _Raw) -> TagEntry:
        nonlocal repeats
        row = whole(value[0], "the row")
        if not 0 <= row < RELEASE_ROWS:
            reject(Fault.ROW_OUT_OF_RANGE, f"row {row}; allowed: 0 to {RELEASE_ROWS - 1}")
        relevant, uncertain = (
            [_tag(tag, len(tags)) for tag in listing(some, f"the {name} tags")]
            for some, name in ((value[1], "relevant"), (value[2], "uncertain"))
        )
        if row in seen:
            reject(Fault.ROW_REPEATED, f"row {row} has an earlier entry; allowed: each row once")
        seen.add(row)
        repeats += len(set(relevant)) < len(relevant)
        once = tuple(dict.fromkeys(relevant))
        return TagEntry(
            where, row, once, tuple(t for t in dict.fromkeys(uncertain) if t not in once), value[3]
        )

    entries, rejects = read_each(raw, read, source)
    notes = {
        "lists_with_repeats": repeats,
        "entries_without_relevant_tags": sum(not entry.relevant for entry in entries),
    }
    return Reading(entries, rejects, tags, notes)


def _mulan(document: dict[str, Any]) -> tuple[tuple[str, ...], Iterator[tuple[str, _Raw]]]:
    tags = []
    for number, item in enumerate(listing(document["tag_dict_list"], "tag_dict_list")):
        found = mapping(item, f"tag_dict_list[{number}]", "ID", "tag")
        if whole(found["ID"], f"tag_dict_list[{number}].ID") != number:
            raise SourceError("tag_dict_list is not in the order of its IDs", where=f"entry {number}")
        tags.append(text(found["tag"], f"tag_dict_list[{number}].tag"))

    def raw() -> Iterator[tuple[str, _Raw]]:
        for number, item in enumerate(listing(document["lesion_tags"], "lesion_tags")):
            pair = item if isinstance(item, list) and len(item) == 2 else (None, None)
            yield f"lesion_tags[{number}]", (pair[0], pair[1], [], "train")

    return tuple(tags), raw()


def _lesanet(document: dict[str, Any], source: str) -> tuple[tuple[str, ...], Iterator[tuple[str, _Raw]]]:
    tags = tuple(text(tag, "term_list") for tag in listing(document["term_list"], "term_list"))
    lists = {}
    for split in SPLITS:
        names = [f"{split}_{part}" for part in ("lesion_idxs", "relevant_labels", "uncertain_labels")]
        if names[0] in document:
            lists[split] = [listing(document.get(name), name) for name in names]
            if len({len(found) for found in lists[split]}) > 1:
                counts = ", ".join(
                    f"{name} {len(found)}" for name, found in zip(names, lists[split], strict=True)
                )
                raise SourceError(
                    "the lists of one split differ in length, so which tags belong to which row is unknown",
                    where=source,
                    value=counts,
                    allowed="equal numbers of rows, relevant and uncertain lists",
                    remedy="fetch the file again from rsummers11/CADLab",
                )
    if not lists:
        raise _unknown(source, "term_list without rows")

    def raw() -> Iterator[tuple[str, _Raw]]:
        for split, found in lists.items():
            for number, (row, relevant, uncertain) in enumerate(zip(*found, strict=True)):
                yield f"{split}[{number}]", (row, relevant, uncertain, split)

    return tags, raw()


def _tag(value: Any, count: int) -> int:
    tag = whole(value, "a tag")
    if not 0 <= tag < count:
        reject(Fault.TAG_UNKNOWN, f"tag {tag}; allowed: 0 to {count - 1}")
    return tag


def _unknown(source: str, found: str) -> SourceError:
    return SourceError(
        "this is neither LesaNet's file of tags nor MULAN's cache",
        where=source,
        value=found,
        allowed="JSON with term_list and lesion_idxs, or with tag_dict_list and lesion_tags",
        remedy="give text_mined_labels_171_and_split.json or tags_cache.json",
    )

"""Read LesaNet's tags, text-mined from reports or given by hand, and MULAN's cache of them.

LesaNet: Yan et al., CVPR 2019; `text_mined_labels_171_and_split.json`. For each of its splits there are lists
of rows (0-based, of the release's DL_info.csv), of relevant and of uncertain tags. Those of irrelevant ones
(in the sentence, and not of the lesion) are counted only.
`hand_labeled_test_set.json` lists lesions with the names of their tags, numbered here in alphabetical order.
MULAN: Yan et al., MICCAI 2019; `tags_cache.json`, pairs of a row and its tags, the uncertain ones merged in.
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
    whole_file,
)
from etl.annotations.entries import Fault, Reading, TagEntry
from etl.core.errors import SourceError

SPLITS = ("train", "val", "test")
_HAND_LABELED = ("lesion_idx", "expanded_terms")
_Raw = tuple[Any, Any, Any, str]


def read_lesanet_tags(data: bytes, source: str) -> Reading[TagEntry]:
    """Read one of LesaNet's files or MULAN's cache, told apart by their keys.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is not one of these.
    """
    with whole_file(source):
        return _read(read_json(data, source), source)


def _read(document: Any, source: str) -> Reading[TagEntry]:
    if isinstance(document, list):
        tags, raw = _hand_labeled(document)
    elif not isinstance(document, dict):
        raise _unknown(source, f"a {type(document).__name__}")
    elif "lesion_tags" in document and "tag_dict_list" in document:
        tags, raw = _mulan(document, source)
    elif "term_list" in document:
        tags, raw = _lesanet(document, source)
    else:
        raise _unknown(source, ", ".join(map(str, list(document)[:8]))[:200])
    repeats = 0

    def read(where: str, value: _Raw) -> TagEntry:
        nonlocal repeats
        row = whole(value[0], "the row")
        if not 0 <= row < RELEASE_ROWS:
            reject(Fault.ROW_OUT_OF_RANGE, f"row {row}; allowed: 0 to {RELEASE_ROWS - 1}")
        relevant, uncertain = (
            [_tag(tag, len(tags)) for tag in listing(some, f"the {name} tags")]
            for some, name in ((value[1], "relevant"), (value[2], "uncertain"))
        )
        repeats += len(set(relevant)) < len(relevant)
        once = tuple(dict.fromkeys(relevant))
        return TagEntry(
            where, row, once, tuple(t for t in dict.fromkeys(uncertain) if t not in once), value[3]
        )

    entries, rejects = read_each(raw, read, source)
    notes = {
        "lists_with_repeats": repeats,
        "entries_without_relevant_tags": sum(not entry.relevant for entry in entries),
        "irrelevant_tags_not_read": _irrelevant(document),
    }
    return Reading(entries, rejects, tags, notes)


def _hand_labeled(document: list[Any]) -> tuple[tuple[str, ...], Iterator[tuple[str, _Raw]]]:
    listed = [item.get(_HAND_LABELED[1]) for item in document if isinstance(item, dict)]
    names = {name for terms in listed if isinstance(terms, list) for name in terms if isinstance(name, str)}
    tags = tuple(sorted(names))
    numbers = {name: number for number, name in enumerate(tags)}

    def raw() -> Iterator[tuple[str, _Raw]]:
        for number, item in enumerate(document):
            found = item if isinstance(item, dict) else {}
            row, terms = (found.get(key) for key in _HAND_LABELED)
            if isinstance(terms, list):
                terms = [numbers[name] if isinstance(name, str) else None for name in terms]
            yield f"[{number}]", (row, terms, [], "")

    return tags, raw()


def _mulan(document: dict[str, Any], source: str) -> tuple[tuple[str, ...], Iterator[tuple[str, _Raw]]]:
    named: dict[int, str] = {}
    for number, item in enumerate(listing(document["tag_dict_list"], "tag_dict_list")):
        found = mapping(item, f"tag_dict_list[{number}]", "ID", "tag")
        identifier = whole(found["ID"], f"tag_dict_list[{number}].ID")
        named[identifier] = text(found["tag"], f"tag_dict_list[{number}].tag")
    if sorted(named) != list(range(len(document["tag_dict_list"]))):
        raise SourceError(
            "the IDs of tag_dict_list do not number its tags",
            where=source,
            allowed=f"each of 0 to {len(document['tag_dict_list']) - 1} once",
        )
    tags = tuple(named[number] for number in sorted(named))

    def raw() -> Iterator[tuple[str, _Raw]]:
        for number, item in enumerate(listing(document["lesion_tags"], "lesion_tags")):
            pair = item if isinstance(item, list) and len(item) == 2 else (None, None)
            yield f"lesion_tags[{number}]", (pair[0], pair[1], [], "train")

    return tags, raw()


def _lesanet(document: dict[str, Any], source: str) -> tuple[tuple[str, ...], Iterator[tuple[str, _Raw]]]:
    tags = tuple(text(tag, "term_list") for tag in listing(document["term_list"], "term_list"))
    lists = {}
    for split in SPLITS:
        names = [f"{split}_{part}" for part in ("lesion_idxs", "relevant_labels", "uncertain_labels")]
        if names[0] in document:
            rows, relevant = (listing(document.get(name), name) for name in names[:2])
            uncertain = listing(document.get(names[2], [[]] * len(rows)), names[2])
            lists[split] = [rows, relevant, uncertain]
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


def _irrelevant(document: Any) -> int:
    """Return the number of irrelevant tags of a document."""
    if not isinstance(document, dict):
        return 0
    lists = (document.get(f"{split}_irrelevant_labels") for split in SPLITS)
    return sum(
        len(tags) for some in lists if isinstance(some, list) for tags in some if isinstance(tags, list)
    )


def _tag(value: Any, count: int) -> int:
    tag = whole(value, "a tag")
    if not 0 <= tag < count:
        reject(Fault.TAG_UNKNOWN, f"tag {tag}; allowed: 0 to {count - 1}")
    return tag


def _unknown(source: str, found: str) -> SourceError:
    return SourceError(
        "this is neither a file of LesaNet's tags nor MULAN's cache",
        where=source,
        value=found,
        allowed="JSON of term_list and lesion_idxs, of tag_dict_list and lesion_tags, or a list of lesions",
        remedy="give text_mined_labels_171_and_split.json, hand_labeled_test_set.json or tags_cache.json",
    )

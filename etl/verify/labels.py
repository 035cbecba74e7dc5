"""Verify the labels of a volume against the version: the receipt, and every byte of what it lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etl.io.places import ObjectInfo, Objects, object_info
from etl.release.names import is_ignorable
from etl.store.layout import receipt_path
from etl.store.receipts import receipt_objects
from etl.verify.problems import CountedReads, Problem, Repair, describe, differences, read_whole


def check_labels(reads: CountedReads, objects: Objects, entry: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the labels that an entry of a version's `labels` names."""
    path, where = entry["path"], receipt_path(entry["path"])
    try:
        data = reads.read(where)
        listed = receipt_objects(data)
    except FileNotFoundError:
        yield Problem("is missing", where, Repair.LABELS)
        return
    except Exception as error:
        yield Problem("can't be read", where, Repair.LABELS, describe(error))
        return
    size = len(data) + sum(item.bytes for item in listed)
    values = [
        ("SHA-256", object_info(where, data).sha256, entry["sha256"]),
        ("size of the labels", size, entry["bytes"]),
    ]
    yield from differences(where, Repair.LABELS, values)
    for item in listed:
        yield from read_whole(
            reads, ObjectInfo(f"{path}/{item.path}", item.bytes, item.sha256), Repair.LABELS
        )[1]
    known = {f"{path}/{item.path}" for item in listed}
    for name in objects.list(path):
        if name not in known and not is_ignorable(name):
            yield Problem("is no part of these labels", name, Repair.LABELS)

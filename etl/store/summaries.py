"""A small summary of each version, so that a list of hundreds reads kilobytes of each, not megabytes.

    versions/summaries/NNNNNN.json    written right after the version's file; removed before it by a prune

A summary is an extract: one that is missing, damaged, or not of the file that is there is replaced by reading
the version itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from etl.io.places import Objects
from etl.store.layout import summary_path, to_json, version_path
from etl.store.named import Version, stored_bytes
from etl.store.sealed import read_sealed, sealed

logger = logging.getLogger(__name__)

Summary = dict[str, Any]


def summary_of(version: Version) -> Summary:
    """Return the entry of a version in a list, as plain JSON types."""
    summary = {key: version[key] for key in ("version", "created_at", "run_id", "parent")}
    summary |= {key: version["counts"][key] for key in ("volumes", "lesions")}
    return summary | {"bytes": stored_bytes(version), "rollback_of": version.get("rollback_of")}


def write_summary(objects: Objects, version: Version) -> None:
    """Write the summary of a version that was just published; a failure is logged and harms nothing."""
    content = sealed({"summary": summary_of(version), "version_bytes": len(to_json(version))})
    try:
        objects.write(summary_path(version["version"]), to_json(content))
    except OSError as error:
        logger.warning("the summary of version %d can't be written: %s", version["version"], error)


def read_summary(objects: Objects, number: int, listed: Mapping[str, int]) -> Summary | None:
    """Return the summary of a version; None where there is none that is right.

    Args:
        listed: bytes of the objects below `versions/`, by path relative to the store.

    Raises:
        OSError: the store can't be read.
    """
    if summary_path(number) not in listed:
        return None
    try:
        content = read_sealed(objects.read(summary_path(number)))
        if content["version_bytes"] != listed.get(version_path(number)):
            return None
        summary: Summary = content["summary"]
        return summary if summary["version"] == number else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None

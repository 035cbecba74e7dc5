"""Paths that match a glob. Those of Python and of fsspec leave out, without an error, what lies in a folder
that can't be listed.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
from collections.abc import Callable, Iterable


def matching(pattern: str, names_in: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the paths that match a glob, sorted.

    Args:
        pattern: absolute; with a wildcard in its last part or before.
        names_in: returns the names in a folder, none for a file. Raises FileNotFoundError where nothing is.

    Raises:
        OSError: a folder that the pattern leads through can't be listed; or the pattern has `**`, which some
            globs take for any number of folders and others for one.
    """
    if "**" in pattern:
        raise OSError(errno.EINVAL, "** is not allowed: give * once for each level of folders", pattern)
    folder, _, wanted = pattern.rpartition("/")
    if glob.has_magic(folder):
        listed = {place: names_in(place) for place in matching(folder, names_in)}
    else:
        try:
            listed = {folder: names_in(folder)}
        except FileNotFoundError:
            return []
    return sorted(
        f"{place}/{name}"
        for place, names in listed.items()
        for name in fnmatch.filter(names, wanted)
        if wanted.startswith(".") or not name.startswith(".")
    )


def matching_paths(place: str) -> list[str]:
    """Return the absolute paths that a path or glob names, sorted; none where nothing is there.

    Raises:
        OSError: a folder that the glob leads through can't be listed, or the path can't be looked up.
    """
    path = os.path.abspath(place)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return matching(path, _names_in) if glob.has_magic(path) else []
    return [path]


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder or "/")
    except NotADirectoryError:
        return []

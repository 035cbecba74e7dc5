"""Names of versions, such as `paper-2026`: a prune keeps what has one, a reader opens a version by it.

versions/tags/NAME.json    created once, never changed: number and SHA-256 of the version's file
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from etl.core.errors import ConfigError, GuardError, StoreError
from etl.io.places import Objects
from etl.store.layout import TAGS, tag_path, to_json
from etl.store.sealed import read_sealed, sealed
from etl.store.versions import now_text, read_with_sha256

NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
"""A tag begins with a letter, so that it is never taken for a number."""


@dataclass(frozen=True)
class Tag:
    """A name of a version.

    Attributes:
        sha256: of the version's file, as it was when it was tagged.
        created_at: ISO 8601, UTC.
    """

    name: str
    number: int
    sha256: str
    created_at: str


def check_name(name: str) -> str:
    """Return the name of a tag. Raise ConfigError where it can't be one."""
    if not _is_name(name):
        raise ConfigError(
            "not the name of a tag",
            where="NAME",
            value=name,
            allowed="a letter, then up to 63 letters, digits, dots, dashes and underscores",
            remedy="for example paper-2026",
        )
    return name


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and not name.endswith(".json")


def write_tag(objects: Objects, name: str, number: int) -> bool:
    """Give a version a name; return False if it has it already.

    Raises:
        ConfigError: no tag can have this name.
        StoreError: there is no such version, or it is damaged.
        GuardError: another version has the name.
        OSError: the store can't be written.
    """
    check_name(name)
    _, sha256 = read_with_sha256(objects, number)
    content = {"tag": name, "version": number, "version_sha256": sha256, "created_at": now_text()}
    if objects.create(tag_path(name), to_json(sealed(content))):
        return True
    found = read_tag(objects, name)
    if (found.number, found.sha256) != (number, sha256):
        raise GuardError(
            "another version has this tag; nothing was done",
            where=f"{objects.root}/{tag_path(name)}",
            value=f"{name}: version {found.number}, since {found.created_at}",
            allowed="a name that no version has",
            remedy=f"choose another name, or remove the tag first: deeplesion versions STORE untag {name}",
        )
    return False


def remove_tag(objects: Objects, name: str) -> None:
    """Remove a tag; its version stays until a prune.

    Raises:
        ConfigError, StoreError: there is no such tag.
        OSError: the store can't be written.
    """
    if objects.size(tag_path(check_name(name))) is None:
        raise _absent(objects, name)
    objects.remove(tag_path(name))


def read_tag(objects: Objects, name: str) -> Tag:
    """Return a tag.

    Raises:
        ConfigError, StoreError: there is no such tag, or its file is damaged.
        OSError: the store can't be read.
    """
    path = tag_path(check_name(name))
    try:
        content = read_sealed(objects.read(path))
        if content["tag"] != name or not isinstance(content["version"], int):
            raise ValueError(f"it is the tag {content['tag']!r}")
        return Tag(name, content["version"], content["version_sha256"], content["created_at"])
    except FileNotFoundError as error:
        raise _absent(objects, name) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "the file of a tag is damaged",
            where=f"{objects.root}/{path}",
            value=str(error),
            allowed="the file that `deeplesion versions STORE tag` wrote",
            remedy=f"remove it and tag again: deeplesion versions STORE untag {name}, then tag {name} N",
        ) from error


def names_among(names: Iterable[str]) -> list[str]:
    """Return the tags whose files are among these paths, sorted."""
    files = (name for name in names if name.startswith(f"{TAGS}/") and name.endswith(".json"))
    stems = (name.removeprefix(f"{TAGS}/").removesuffix(".json") for name in files)
    return sorted(stem for stem in stems if _is_name(stem))


def _absent(objects: Objects, name: str) -> StoreError:
    known = ", ".join(names_among(objects.list(TAGS))[:10]) or "none"
    return StoreError(
        "no such tag",
        where=objects.root,
        value=name,
        allowed=f"a number of a version, or a tag: {known}",
        remedy=f"give a version this name: deeplesion versions STORE tag {name} N",
    )

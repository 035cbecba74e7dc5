"""The root of a store: is the folder a store, or something else's?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.layout import CONTRACT_VERSION, ROOT, ROOT_V1
from etl.store.sealed import is_intact

_REMEDY = "give a folder of its own to the store"


def refuse_foreign(objects: Objects) -> None:
    """Refuse a folder whose root belongs to something else: another Zarr hierarchy, another `store.json`.

    Raises:
        StoreError: naming the file.
        OSError: the place can't be read.
    """
    for name, key in ((ROOT, "contract_version"), (ROOT_V1, "attributes")):
        content = _content(objects.read, name)
        if not isinstance(content, dict):  # no such file, or one that is damaged
            continue
        known = content.get(key)
        if name == ROOT_V1:
            known = isinstance(known, dict) and known.get("deeplesion_store")
        if not known:
            raise StoreError(
                "the folder belongs to something else",
                where=f"{objects.root}/{name}",
                value=json.dumps(content)[:100],
                allowed=f"no {name}, or that of a store",
                remedy=_REMEDY,
            )


def check_root(objects: Objects) -> None:
    """Check that a store may be, or is, in this place, before a build relies on it. Writes nothing.

    Raises:
        StoreError: the root belongs to something else, follows another contract, or is damaged.
        OSError: the place can't be read.
    """
    refuse_foreign(objects)
    if (fault := root_fault(objects.read)) is not None:
        raise StoreError(
            "the store's root is damaged or follows another contract",
            where=f"{objects.root}/{ROOT}",
            value=fault,
            allowed=f"the root that a build writes, by contract {CONTRACT_VERSION}",
            remedy=f"if the store is yours, delete its {ROOT} and run the same build, which writes it again",
        )


def root_fault(read: Callable[[str], bytes]) -> str | None:
    """Return what is wrong with `store.json`; None where it is right, or there is none yet."""
    content = _content(read, ROOT)
    if content is None:
        return None
    if not isinstance(content, dict):
        return "no JSON object"
    if content.get("contract_version") != CONTRACT_VERSION:
        return f"contract_version is {content.get('contract_version')!r}"
    return None if is_intact(content) else "its content is not the one that its SHA-256 was made of"


def _content(read: Callable[[str], bytes], name: str) -> Any:
    """Return the parsed content of a JSON file; None where there is no file, "" where it is no JSON."""
    try:
        return json.loads(read(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return ""

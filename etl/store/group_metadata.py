"""The `zarr.json` of a stored OME-Zarr group and of its levels, each with a checksum of its own content."""

from __future__ import annotations

import json
from typing import Any

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.layout import METADATA, SEAL_AT, contract_of
from etl.store.sealed import is_intact

REMEDY = "deeplesion verify lists all damage and what repairs it"


def read_metadata(objects: Objects, path: str, level: int | None = None) -> dict[str, Any]:
    """Return the `zarr.json` of a group, or of one of its levels, after its own checksum was compared.

    Those of contract 1 have none.

    Raises:
        StoreError: it is missing or damaged.
        OSError: the store can't be read.
    """
    name = f"{path}/{METADATA}" if level is None else f"{path}/{level}/{METADATA}"
    where = f"{objects.root}/{name}"
    try:
        content: dict[str, Any] = json.loads(objects.read(name))
        content["attributes"]
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "a volume's metadata is missing" if level is None else "no such volume"
        raise StoreError(what, where=where, value="no such object", remedy=REMEDY) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error
    if contract_of(path) > 1 and not is_intact(content, SEAL_AT):
        raise _damaged(where, "its content is not the one that its own SHA-256 was made of")
    return content


def _damaged(where: str, value: str) -> StoreError:
    return StoreError("a volume's metadata is damaged", where=where, value=value, remedy=REMEDY)

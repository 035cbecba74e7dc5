"""JSON documents that hold a checksum of their own content, so that whoever reads one finds a changed byte.

The seal is the SHA-256 of the content without it, as JSON with sorted keys, no spaces and no escapes:
`json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)` in UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

SEAL = "sha256"
"""Key of the checksum, in hex."""


def seal_of(content: Mapping[str, Any], at: Sequence[str] = ()) -> str:
    """Return the checksum of a document's content, whatever seal it has now.

    Args:
        at: keys that lead to the object that holds the seal; none where it is at the top.
    """
    text = json.dumps(
        _without_seal(content, at),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(content: Mapping[str, Any], at: Sequence[str] = ()) -> dict[str, Any]:
    """Return a document with its seal, as the last key of the object that holds it; see `seal_of`."""
    return _with_seal(_without_seal(content, at), at, seal_of(content, at))


def is_intact(content: Mapping[str, Any], at: Sequence[str] = ()) -> bool:
    """Return if a document has a seal and it is that of its content; see `seal_of`."""
    holder: Any = content
    for key in at:
        holder = holder.get(key) if isinstance(holder, Mapping) else None
    if not isinstance(holder, Mapping) or SEAL not in holder:
        return False
    try:
        return bool(holder[SEAL] == seal_of(content, at))
    except (RecursionError, ValueError):  # nested too deeply, or not a number
        return False


def parse_json(data: bytes) -> Any:
    """Parse a document. Raise ValueError where it is no JSON, or nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_sealed(data: bytes) -> dict[str, Any]:
    """Parse a document that is sealed at its top. Raise ValueError where it is none or was changed."""
    content = parse_json(data)
    if not isinstance(content, dict) or not is_intact(content):
        raise ValueError("its content is not the one that its own SHA-256 was made of")
    return content


def _without_seal(content: Mapping[str, Any], at: Sequence[str]) -> dict[str, Any]:
    if not at:
        return {key: value for key, value in content.items() if key != SEAL}
    return dict(content) | {at[0]: _without_seal(content.get(at[0], {}), at[1:])}


def _with_seal(content: dict[str, Any], at: Sequence[str], seal: str) -> dict[str, Any]:
    if not at:
        return content | {SEAL: seal}
    return content | {at[0]: _with_seal(content[at[0]], at[1:], seal)}

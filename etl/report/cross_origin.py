"""Answers to pages of other origins, which a browser lets read a server only where its headers allow it.

WHATWG Fetch, CORS protocol; Private Network Access for a public page that reads from the loopback interface.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from etl.core.errors import ConfigError


def checked_origins(origins: Iterable[str]) -> frozenset[str]:
    """Return origins as a browser sends them.

    Raises:
        ConfigError: one is not scheme://host or scheme://host:port, or is every origin.
    """
    found = set()
    for origin in origins:
        parts = urlsplit(origin.rstrip("/"))
        plain = f"{parts.scheme}://{parts.netloc}".lower()
        if parts.scheme not in ("http", "https") or not parts.hostname or plain != origin.rstrip("/").lower():
            raise ConfigError(
                "this is no origin",
                where="--allow-origin",
                value=origin,
                allowed="http:// or https:// with a host and maybe a port, such as https://vizarr.example.org",
                remedy="give the address of the page without its path",
            )
        found.add(plain)
    return frozenset(found)


def sharing_headers(origin: str | None, allowed: Collection[str]) -> dict[str, str]:
    """Return the headers that let a page of this origin read an answer; none for any other origin."""
    if not allowed:
        return {}
    if origin is None or origin not in allowed:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range",
        "Vary": "Origin",
    }


def preflight_headers(origin: str | None, allowed: Collection[str]) -> dict[str, str]:
    """Return the headers of an answer to OPTIONS: ranges may be read, nothing may be written."""
    if origin is None or origin not in allowed:
        return {}
    return sharing_headers(origin, allowed) | {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "Range",
        "Access-Control-Allow-Private-Network": "true",
        "Access-Control-Max-Age": "600",
    }

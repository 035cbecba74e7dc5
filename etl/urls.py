"""Places as they are written: paths and URLs."""

from __future__ import annotations

import os
from urllib.parse import urlsplit


def is_local(url: str) -> bool:
    """True for a path on this machine or a shared file system."""
    return "://" not in url or url.startswith("file://")


def blob_name(url: str) -> str:
    """The last part of a path or URL: `Images_png_01.zip`. Queries, which may hold secrets, are left out."""
    path = url if is_local(url) else urlsplit(url).path
    return os.path.basename(path.rstrip("/")) or "archive.zip"


def public_url(url: str) -> str:
    """The URL for messages: without user, password, query and fragment, which may hold secrets."""
    if is_local(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

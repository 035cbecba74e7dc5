"""Headers by which a browser does with each served object only what is safe: a store may come from anybody.

The viewer's own pages run; a report is shown in a sandbox, from which it reaches nothing of this server;
pictures are shown; all else is downloaded, because HTML or SVG of a store would run in this server's origin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
_REPORT = re.compile(r"reports/[0-9]{6,}/index\.html\Z")

# niivue's Blosc decoder makes functions of text. No other script runs than the viewer's own files.
_VIEWER_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' data: blob:; img-src 'self' data: blob:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DRAWN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OBJECT_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

EVERY_ANSWER = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _OBJECT_POLICY,
}
"""Headers of every answer, unless it has its own."""


def page_headers(name: str) -> Mapping[str, str]:
    """Return the headers of a file of the viewer."""
    return {"Content-Type": _type_of(name), "Content-Security-Policy": _VIEWER_POLICY}


def drawn_headers() -> Mapping[str, str]:
    """Return the headers of a page that is drawn from tables and voxels: it has no script."""
    return {"Content-Type": _TYPES[".html"], "Content-Security-Policy": _DRAWN_POLICY}


def object_headers(name: str) -> Mapping[str, str]:
    """Return the headers of an object of the store."""
    headers = {"Content-Type": _type_of(name)}
    if _REPORT.match(name):
        return headers | {"Content-Security-Policy": _REPORT_POLICY}
    if PurePosixPath(name).suffix == ".png":
        return headers
    return headers | {"Content-Disposition": "attachment"}


def _type_of(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")

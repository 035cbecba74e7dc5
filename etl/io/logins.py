"""Users and passwords of web servers, from URLs and from ~/.netrc."""

from __future__ import annotations

import netrc
import os
from urllib.parse import unquote, urlsplit

from etl.core.secrets import credential_in, remember
from etl.core.urls import public_url
from etl.io.places import BlobRefused


def login(url: str) -> str:
    """Return `user:password` for a URL; empty where there is none, or the URL is signed.

    It comes from the URL, or from ~/.netrc (or the file that the variable NETRC names), where curl looks too;
    only an entry of the host itself counts, so that no password goes elsewhere.

    Raises:
        BlobRefused: the file is malformed, or others may read it.
    """
    parts = urlsplit(url)
    if parts.username:
        return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    if not parts.hostname or credential_in(url):
        return ""
    file = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        entry = netrc.netrc(file).hosts.get(parts.hostname)
        mode = os.stat(file).st_mode
    except OSError:  # there is none
        return ""
    except (netrc.NetrcParseError, UnicodeDecodeError):
        # Its own message may hold a word of the file.
        raise BlobRefused(
            f"{public_url(url)}: {file} can't be used; is it well-formed, and readable by its owner only?"
        ) from None
    if not entry:
        return ""
    if mode & 0o077:
        raise BlobRefused(
            f"{public_url(url)}: {file} holds a password, and others may read it (mode {mode & 0o777:04o}); "
            f"remedy: chmod 600 {file}"
        )
    remember(entry[2] or "")
    return f"{entry[0]}:{entry[2] or ''}"

"""Who to be on a web server: from the URL, or from ~/.netrc, where curl and others look too."""

from __future__ import annotations

import netrc
import os
from urllib.parse import unquote, urlsplit

from etl.core.urls import credential_in, public_url
from etl.io.blobs import BlobRefused


def login(url: str) -> str:
    """`user:password` for a URL; empty where there is none, or the URL is signed.

    The file is ~/.netrc, or what the variable NETRC names; only an entry of the host itself counts, so that
    no password goes elsewhere.

    Raises:
        BlobRefused: the file can't be understood, or others may read it.
    """
    parts = urlsplit(url)
    if parts.username:
        return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    if not parts.hostname or credential_in(url):
        return ""
    file = os.environ.get("NETRC")
    try:
        entry = netrc.netrc(file).hosts.get(parts.hostname)
    except OSError:  # there is none
        return ""
    except (netrc.NetrcParseError, UnicodeDecodeError):
        # Its own message may hold a word of the file.
        raise BlobRefused(
            f"{public_url(url)}: {file or '~/.netrc'} can't be used; is it well-formed, and readable by its "
            "owner only?"
        ) from None
    return f"{entry[0]}:{entry[2] or ''}" if entry else ""

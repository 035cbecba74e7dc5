"""Places as they are written: paths and URLs, and what in them is secret."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

_USER = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#\s]*)@", re.IGNORECASE)
# A password with a slash in it: what follows the colon is no port.
_SLASHED = re.compile(r"://[^/?#\s:@\[]+:(?!\d*(?:[/?#\s'\"]|\Z))\S*@")
# Of signed URLs (S3, Google, CloudFront, Azure), and what services call their passwords.
_PARAMETER = re.compile(
    r"(?<=[?&;])(x-(?:amz|goog)-credential|awsaccesskeyid|googleaccessid|sig|key"
    r"|[\w-]*(?:signature|token|secret|password|passwd|api_?key|access_?key))=[^&;#\s'\"]*",
    re.IGNORECASE,
)
_WEB = ("http", "https", "ftp", "ftps")


def is_local(url: str) -> bool:
    """True for a path on this machine or a shared file system."""
    return "://" not in url or url.startswith("file://")


def blob_name(url: str) -> str:
    """The last part of a path or URL: `Images_png_01.zip`. Queries, which may hold secrets, are left out."""
    path = url if is_local(url) else urlsplit(url).path
    return os.path.basename(path.rstrip("/")) or "archive.zip"


def host_of(url: str) -> str:
    """Scheme and host, or bucket: what is silent as a whole when it is. Without a user."""
    return "/".join(public_url(url).split("/")[:3])


def public_url(url: str) -> str:
    """The URL for messages: without user, password, query and fragment, which may hold secrets."""
    if is_local(url):
        return url
    parts = urlsplit(_SLASHED.sub("://", url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def credential_in(text: str) -> str:
    """What kind of credential the URLs in a text carry, in words; empty where there is none."""
    for scheme, user in _USER.findall(text):
        # A user alone belongs to some places, as in sftp:// and abfs://; for a web server it may be a token.
        if ":" in user or scheme.lower() in _WEB:
            return "a user or password before the host"
    if _SLASHED.search(text):
        return "a user or password before the host"
    parameter = _PARAMETER.search(text) if "://" in text else None
    return f"the parameter `{parameter[1]}`" if parameter else ""


def without_credentials(text: str) -> str:
    """A text for messages: what `credential_in` finds is replaced by dots."""
    text = _USER.sub(lambda found: f"{found[1]}://...@" if credential_in(found[0]) else found[0], text)
    text = _SLASHED.sub("://...@", text)
    return _PARAMETER.sub(lambda found: f"{found[1]}=...", text)

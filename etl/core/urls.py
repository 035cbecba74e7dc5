"""Places as people write them: paths and URLs in one normal form."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from etl.core.errors import ConfigError
from etl.core.secrets import SLASHED_PASSWORD, without_credentials

_S3 = re.compile(r"s3[an]?:/+", re.IGNORECASE)
_FILE = re.compile(r"file:(?://(?:localhost)?(?=/))?", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# One slash, or none after a scheme that everybody knows: pathlib and shells make this of a URL.
_BROKEN_URL = re.compile(
    r"[a-z][a-z0-9+.-]+:/|(?:s3[an]?|gs|gcs|https?|ftps?|sftp|hdfs|abfss?|az):", re.IGNORECASE
)
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[^{}]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")
_GLOB = re.compile(r"[*?\[]")


def parse_place(place: str | os.PathLike[str]) -> str:
    """Return a path or URL in its normal form: the one way in which a place is read anywhere.

    In paths and s3 URLs `$NAME`, `${NAME}` and a leading `~` are expanded. `S3://`, `s3a://`, `s3n://` and
    `s3:/` become `s3://`, empty parts of the key and a slash at its end are dropped, and so is `file://`.
    Other URLs keep their text, with the scheme in lower case. A relative path stays relative.

    Raises:
        ConfigError: it is empty, names an environment variable that is not set, has no bucket, or looks like
            a URL that lost a slash.
    """
    text = os.fspath(place)
    if not text.strip():
        raise ConfigError("the place is empty", value=text, allowed="a path or a URL")
    if scheme := _SCHEME.match(text):
        text = scheme[0].lower() + text[scheme.end() :]
    is_path = not scheme or text.startswith("file:")
    if is_path or _S3.match(text):
        text = _VARIABLE.sub(lambda found: _value_of(found, text), text)
    if s3 := _S3.match(text):
        parts = [part for part in text[s3.end() :].split("/") if part]
        if not parts or _GLOB.search(parts[0]):
            raise ConfigError("the URL has no bucket", value=public_url(text), allowed="s3://bucket/prefix")
        return f"s3://{'/'.join(parts)}"
    if not is_path:
        return text
    text = _FILE.sub("", text)
    if _BROKEN_URL.match(text):
        raise ConfigError(
            "this looks like a URL with a slash missing",
            value=without_credentials(text),
            allowed="a path, or a URL such as s3://bucket/prefix",
            remedy="write two slashes after the colon; for a folder with such a name, put ./ before it",
        )
    return os.path.expanduser(text)


def parse_folder(place: str | os.PathLike[str], where: str) -> Path:
    """Return the absolute path of a place that can only be a file or folder on this machine.

    Args:
        where: the argument or key that names it, for the error.

    Raises:
        ConfigError: it is a URL, or no place at all.
    """
    text = parse_place(place)
    if not is_local(text):
        raise ConfigError(
            "only a folder goes here, not a URL",
            where=where,
            value=public_url(text),
            allowed="a path on this machine",
            remedy="write to a folder and copy it to the bucket afterwards",
        )
    return Path(os.path.abspath(text))


def _value_of(variable: re.Match[str], text: str) -> str:
    name = variable["braced"] if variable["bare"] is None else variable["bare"]
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(
            f"the environment variable {name} is not set",
            value=without_credentials(text),
            allowed="variables that are set",
            remedy=f"set {name}, or write the path out",
        ) from None


def is_local(url: str) -> bool:
    """Return whether the place is a path on this machine or a shared file system."""
    return "://" not in url or url.startswith("file://")


def blob_name(url: str) -> str:
    """Return the last part of a path or URL, without its query: `Images_png_01.zip`."""
    path = url if is_local(url) else urlsplit(url).path
    return os.path.basename(path.rstrip("/")) or "archive.zip"


def host_of(url: str) -> str:
    """Return scheme and host, or bucket, without a user: `https://host`."""
    return "/".join(public_url(url).split("/")[:3])


def public_url(url: str) -> str:
    """Return the URL for messages: without user, password, query and fragment, which may hold secrets."""
    if is_local(url):
        return url
    parts = urlsplit(SLASHED_PASSWORD.sub("://", url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

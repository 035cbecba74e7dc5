"""Secrets in texts: found, and left out of everything that leaves the process.

`without_secrets` is the one filter of messages: errors, log records (`etl.run.logs`), rejects of archives,
records of runs. It leaves out what looks like a credential, every URL's query, and the values that this
process knows to be secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

_USER = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#\s]*)@", re.IGNORECASE)
SLASHED_PASSWORD = re.compile(r"://[^/?#\s:@\[]+:(?!\d*(?:[/?#\s'\"]|\Z))\S*@")
"""A password with a slash in it: the text after the colon is no port."""
# Parameters of signed URLs (S3, Google, CloudFront, Azure), and services' names for passwords.
_PARAMETER = re.compile(
    r"(?<=[?&;])(x-(?:amz|goog)-credential|awsaccesskeyid|googleaccessid|sig|key"
    r"|[\w-]*(?:signature|token|secret|password|passwd|api_?key|access_?key))=[^&;#\s'\"]*",
    re.IGNORECASE,
)
_WEB = ("http", "https", "ftp", "ftps")

# A URL's user whose scheme a driver has cut off: KEY:SECRET@bucket.
_BARE_USER = re.compile(r"(?<![^\s'\"(\[{=,<])[^\s'\"/:@]+:(?!//)[^\s'\"@]+@(?=[\w\[])")
_QUERY = re.compile(r"(?<=[\w/.%~-])\?(?=[^\s'\"<>]*=)[^\s'\"<>)\]]*")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)

# Environment variables whose values are secret; those that name a file are not.
_SECRET_NAME = re.compile(r"secret|token|passw|credentials?|private_?key|access_?key|api_?key", re.IGNORECASE)
_NAMES_A_PLACE = re.compile(r"_(?:file|path|dir|uri|url|command|script|profile)\Z", re.IGNORECASE)
LEAST_SECRET = 8
"""Characters of a value that is looked for by itself; a shorter one is part of too many words."""

_remembered: set[str] = set()


def credential_in(text: str) -> str:
    """Return the kind of credential that URLs in a text carry, in words; empty where there is none."""
    for scheme, user in _USER.findall(text):
        # A user alone belongs to some places, as in sftp:// and abfs://; for a web server it may be a token.
        if ":" in user or scheme.lower() in _WEB:
            return "a user or password before the host"
    if SLASHED_PASSWORD.search(text):
        return "a user or password before the host"
    parameter = _PARAMETER.search(text) if "://" in text else None
    return f"the parameter `{parameter[1]}`" if parameter else ""


def without_credentials(text: str) -> str:
    """Return a text for messages, with dots in place of each credential that `credential_in` finds."""
    text = _USER.sub(lambda found: f"{found[1]}://...@" if credential_in(found[0]) else found[0], text)
    text = SLASHED_PASSWORD.sub("://...@", text)
    return _PARAMETER.sub(lambda found: f"{found[1]}=...", text)


def without_secrets(text: str) -> str:
    """Return a text as it may leave this process, with dots in place of secrets and of URLs' queries."""
    text = without_known(text)
    if "@" in text or "=" in text:
        text = _BARE_USER.sub("...@", without_credentials(text))
    return _QUERY.sub("?...", text) if "?" in text else text


def without_known(text: str) -> str:
    """Return a text, of any form, with dots in place of the values that this process knows to be secret."""
    for secret in known_secrets(os.environ):
        text = text.replace(secret, "...")
    return text


def without_secrets_in_urls(page: str) -> str:
    """Return a page with scripts, whose text is no message, without known secrets and credentials of URLs."""
    return _URL.sub(lambda found: without_credentials(found[0]), without_known(page))


def remember(secret: str) -> None:
    """Count a value among those that this process knows to be secret, such as a password of a netrc."""
    if len(secret) >= LEAST_SECRET:
        _remembered.add(secret)


def known_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secret values of an environment and those remembered, the longest first."""
    found = set(_remembered)
    for name, value in environment.items():
        if "://" in value or name.lower().endswith("_proxy"):
            found.update(_parts(value if "://" in value else f"http://{value}"))
        elif _SECRET_NAME.search(name) and not _NAMES_A_PLACE.search(name):
            found.add(value)
    return sorted((value for value in found if len(value) >= LEAST_SECRET), key=len, reverse=True)


def _parts(text: str) -> Iterator[str]:
    """Yield passwords and secret parameters of the URLs in a text, as they stand there and decoded."""
    for scheme, user in _USER.findall(text):
        name, separator, password = user.partition(":")
        if separator:
            yield from (password, unquote(password))
        elif scheme.lower() in _WEB:
            yield from (name, unquote(name))
    for found in SLASHED_PASSWORD.findall(text):
        yield found.partition("://")[2].partition(":")[2].removesuffix("@")
    for parameter in _PARAMETER.finditer(text):
        value = parameter[0].partition("=")[2]
        yield from (value, unquote(value))

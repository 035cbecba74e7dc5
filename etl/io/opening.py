"""Open the blob, store or staging area at a path or URL; only this file knows which class reads what."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from etl.core.errors import ConfigError, StoreError
from etl.core.secrets import credential_in, without_credentials
from etl.core.urls import is_local, parse_place, public_url
from etl.io.local import LocalBlob, LocalObjects, LocalStaging
from etl.io.places import Blob, Objects, StagingArea
from etl.io.retries import RetryBudget


def open_blob(url: str | os.PathLike[str], budget: RetryBudget | None = None) -> Blob:
    """Return the blob at a path or URL: http(s) and s3 with their own retries, other schemes through fsspec.

    Args:
        budget: for a place that fails; by default a few attempts.

    Raises:
        ConfigError: it is no URL, or nothing here reads this kind.
    """
    url = parse_place(url)
    if is_local(url):
        return LocalBlob(os.path.abspath(url))
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise ConfigError("not a URL", value=url.partition("?")[0], allowed=str(error)) from error
    budget = budget or RetryBudget()
    if scheme in ("http", "https"):
        from etl.io.http import HttpBlob

        return HttpBlob(url, budget)
    from etl.io.bucket_blobs import FsspecBlob, S3Blob

    return S3Blob(url, budget) if scheme == "s3" else FsspecBlob.checked(url, budget)


def open_objects(store: str | os.PathLike[str]) -> Objects:
    """Return the store at a path or an s3:// URL.

    Raises:
        ConfigError: it is no place; see `etl.core.urls.parse_place`.
        StoreError: no store can be in such a place.
    """
    text = os.fspath(store)
    if kind := credential_in(text):
        raise StoreError(
            f"credentials don't belong in a store's URL: {kind}",
            value=without_credentials(text),
            remedy="S3 takes them from AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or the "
            "machine's role",
        )
    place = parse_place(text)
    if is_local(place):
        return LocalObjects(os.path.abspath(place))
    if place.startswith("s3://"):
        from etl.io.buckets import BucketObjects

        return BucketObjects(place)
    raise StoreError(
        "this kind of store is not supported",
        value=place,
        allowed="a path, or s3://bucket/prefix",
        remedy="set `store` to a folder or a bucket",
    )


def open_staging(staging: str | os.PathLike[str]) -> StagingArea:
    """Return the staging area at a path or an s3:// URL.

    Raises:
        ConfigError: another kind of place.
    """
    place = parse_place(staging)
    if is_local(place):
        return LocalStaging(os.path.abspath(place))
    if place.startswith("s3://"):
        from etl.io.buckets import BucketStaging

        return BucketStaging(place)
    raise ConfigError(
        "archives can't be staged there",
        where="source.staging",
        value=public_url(place),
        allowed="a path or s3://bucket/prefix",
    )

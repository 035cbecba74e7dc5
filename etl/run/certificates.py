"""Temporary certificates and private folders of the clusters that a job starts: nobody else gets in.

A Dask scheduler runs whatever code a client sends, as the user who started it. Certificates that exist for
one run only, and in this user's reach only, keep all others of the machine or network out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.config
from distributed.security import Security

from etl.core.errors import ConfigError, explained
from etl.run import cluster_kinds as kinds

_PREFIX = "DASK_DISTRIBUTED__COMM__"


def security_arguments(config: kinds.Started) -> dict[str, Any]:
    """Return the arguments of a cluster class that encrypt and authenticate; none if the config says so.

    Raises:
        ConfigError: the folder for the workers' certificates belongs to another user.
    """
    if not isinstance(config, kinds.Local | kinds.Slurm) or not config.tls:
        return {}
    if isinstance(config, kinds.Local):
        return {"security": Security.temporary(), "protocol": "tls://"}
    if {"security", "protocol"} & config.options.keys():
        return {}
    # Jobs read them from files, which dask-jobqueue writes with mode 600 and removes at the end.
    folder = config.options.get("shared_temp_directory") or str(certificates_folder())
    return {"security": Security.temporary(), "protocol": "tls://", "shared_temp_directory": folder}


def certificates_folder() -> Path:
    """Return a private folder below the user's home, which nodes of a cluster share. See `private_folder`."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return private_folder(
        Path(cache, "deeplesion-store"),
        "set XDG_CACHE_HOME, or `shared_temp_directory` in the cluster's `options`",
    )


def scratch_arguments(config: kinds.Started) -> dict[str, Any]:
    """Return the argument that keeps a local cluster's scratch files out of a folder that others can enter.

    Dask's own scratch folder lies below the machine's temporary folder, where anybody can read it. A folder
    that Dask's config names is left alone.
    """
    if not isinstance(config, kinds.Local) or dask.config.get("temporary-directory", None):
        return {}
    folder = Path(tempfile.gettempdir(), f"deeplesion-store-{os.getuid()}")
    return {"local_directory": str(private_folder(folder, "set TMPDIR to a folder of your own"))}


def private_folder(folder: Path, remedy: str) -> Path:
    """Make a folder that only this user can enter, if it does not exist, and return it.

    Raises:
        ConfigError: it belongs to another user, or can't be made.
    """
    with explained(
        ConfigError,
        "there is no private folder for files of the workers",
        where=str(folder),
        allowed="a folder of this user, mode 0700",
        remedy=remedy,
    ):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
            raise PermissionError("it is a link, or belongs to another user")
        folder.chmod(0o700)
    return folder


def environment_of_certificates(security: Security | None) -> Mapping[str, str]:
    """Return the environment in which a script's client has these certificates; it may hold them in full."""
    if security is None or not security.require_encryption:
        return {}
    tls = security.get_tls_config_for_role("client")
    return {
        f"{_PREFIX}TLS__CA_FILE": _absolute(tls["ca_file"]),
        f"{_PREFIX}TLS__CLIENT__CERT": _absolute(tls["cert"]),
        f"{_PREFIX}TLS__CLIENT__KEY": _absolute(tls["key"]),
        f"{_PREFIX}REQUIRE_ENCRYPTION": "true",
    }


def _absolute(value: str) -> str:
    """Return a path that is right in any folder; a certificate itself, which has several lines, as it is."""
    return value if "\n" in value else os.path.abspath(value)

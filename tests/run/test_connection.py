"""Versions compared at the start, and TLS, with real schedulers and workers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.versions import get_versions

from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.connection import (
    SAME_EVERYWHERE,
    check_scheduler,
    open_client,
    security_of,
    version_differences,
)
from tests.support.certificates import write_certificates
from tests.support.processes import DASK_SUBMIT, dask_scheduler, run


def answers(**changed: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the answers of a scheduler and two workers of our versions, except for `changed`."""
    ours = get_versions(SAME_EVERYWHERE)
    found = {name: copy.deepcopy(ours) for name in ("client", "scheduler", "first", "second")}
    for name, packages in changed.items():
        found[name]["packages"] |= packages
    workers = {"tcp://1": found["first"], "tcp://2": found["second"]}
    return {"client": found["client"], "scheduler": found["scheduler"], "workers": workers}


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({}, []),
        ({"first": {"python": "3.11.99.final.0"}, "client": {"python": "3.11.0.final.0"},
          "second": {"python": "3.11.1.final.0"}, "scheduler": {"python": "3.11.2.final.0"}}, []),
        ({"client": {"zarr": "3.1.6"}, "first": {"zarr": "3.1.6"}, "second": {"zarr": "3.4.0"}},
         ["zarr 3.1.6 here, 3.4.0 on worker tcp://2"]),
        ({"scheduler": {"zarr": None, "deeplesion-store": None}}, []),
        ({"client": {"dask": "1"}, "scheduler": {"dask": "2"}, "first": {"dask": "3"},
          "second": {"dask": "3"}},
         ["dask 1 here, 2 on the scheduler, 3 on worker tcp://1 and 1 more"]),
        ({"client": {"deeplesion-store": "7"}, "first": {"deeplesion-store": None},
          "second": {"deeplesion-store": "7"}}, ["deeplesion-store 7 here, none on worker tcp://1"]),
    ],
)  # fmt: skip
def test_differences_that_matter(changed: dict[str, Any], lines: list[str]) -> None:
    assert version_differences(answers(**changed)) == lines


def test_python_of_another_minor_version_differs() -> None:
    found = answers(client={"python": "3.11.7.final.0"}, scheduler={"python": "3.12.7.final.0"},
                    first={"python": "3.11.7.final.0"}, second={"python": "3.11.7.final.0"})  # fmt: skip
    assert version_differences(found) == ["python 3.11 here, 3.12 on the scheduler"]


@pytest.mark.campaign
def test_workers_of_another_version_are_refused_in_one_line(tmp_path: Path) -> None:
    # Found first, as it lies in the folder where the worker runs.
    metadata = tmp_path / "zarr-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zarr\nVersion: 1.2.3\n")
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(0)")
    with dask_scheduler(tmp_path) as (address, _):
        # Waits for the worker, which check_scheduler alone does not.
        with pytest.raises(ConfigError, match=r"1\.2\.3 on worker"), open_client(address):
            pass
        done = run([*DASK_SUBMIT, "--scheduler", address, str(script)])
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"Error: versions differ between this process, the scheduler and the workers ({address})"
    )
    assert "1.2.3 on worker" in line
    assert "requirements.lock" in line


USES_CLUSTER = """
from distributed import Client
with Client() as client:
    print(client.scheduler.address.partition(":")[0], client.submit(sum, [1, 2, 3]).result())
"""


@pytest.mark.campaign
def test_tls_from_the_clusters_file_to_the_script(tmp_path: Path) -> None:
    ca, cert, key = write_certificates(tmp_path)
    tls = {"ca_file": str(ca), "cert": str(cert), "key": str(key)}
    security = ["--tls-ca-file", str(ca), "--tls-cert", str(cert), "--tls-key", str(key)]
    (tmp_path / "script.py").write_text(USES_CLUSTER)
    (tmp_path / "stranger").mkdir()
    with dask_scheduler(tmp_path, ["--protocol", "tls", *security]) as (address, _):
        assert address.startswith("tls://")
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump({"kind": "scheduler", "address": address, "tls": tls}))
        done = run([*DASK_SUBMIT, "--cluster", str(file), str(tmp_path / "script.py")])
        assert (done.returncode, done.stdout, done.stderr) == (0, "tls 6\n", "")

        # Nobody else gets in: without certificates, or with those of another authority.
        done = run([*DASK_SUBMIT, "--scheduler", address, str(tmp_path / "script.py")])
        assert done.returncode == 2
        assert done.stderr.startswith("Error: no scheduler answers (")
        other = write_certificates(tmp_path / "stranger")
        names = dict(zip(("ca_file", "cert", "key"), map(str, other), strict=True))
        with pytest.raises(ConfigError, match="no scheduler answers"):
            check_scheduler(address, security_of(kinds.Tls(**names)))

"""Clusters of processes on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager

from distributed.deploy.cluster import Cluster

from etl.run.cluster_kinds import Local, Size
from etl.run.clusters import start_cluster


def local_cluster(workers: int, *, tls: bool = True) -> AbstractContextManager[Cluster]:
    """Start a cluster of this many processes on the loopback interface."""
    return start_cluster(Local(kind="local", workers=Size(minimum=workers, maximum=workers), tls=tls))

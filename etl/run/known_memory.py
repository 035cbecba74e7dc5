"""What the workers of a cluster will have for a task, as it can be told without starting any."""

from __future__ import annotations

from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.clusters import security_of
from etl.run.connection import workers_at
from etl.run.worker_memory import TaskMemory, largest_task_bytes


def known_memory(cluster: kinds.Cluster) -> TaskMemory:
    """From the cluster's config; a scheduler that stands is asked, for 6 s at most."""
    if isinstance(cluster, kinds.Serial):
        return TaskMemory(None, "no limit: it is the job's own process that works")
    if isinstance(cluster, kinds.Standing):
        return _of_standing(cluster)
    if cluster.task_bytes is None:
        return TaskMemory(None, f"not known: what `kind: {cluster.kind}` is given sets no worker's memory")
    return TaskMemory(cluster.task_bytes, f"on a worker of `kind: {cluster.kind}`")


def _of_standing(cluster: kinds.Standing) -> TaskMemory:
    try:
        workers = workers_at(cluster.address, security_of(cluster.tls))
    except ConfigError as error:
        nobody = f"{error.what} at {cluster.address}"
    else:
        nobody = f"{cluster.address} has no worker now"
        if workers:
            most_bytes, found = largest_task_bytes(workers), f"of {len(workers):,} at {cluster.address}"
            note = f"no limit on a worker {found}" if most_bytes is None else f"on the largest worker {found}"
            return TaskMemory(most_bytes, note)
    if cluster.task_bytes is None:
        return TaskMemory(None, f"not known: {nobody}")
    return TaskMemory(cluster.task_bytes, f"as the cluster's config says: {nobody}")

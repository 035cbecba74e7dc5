"""The DaskCluster resource for the Dask operator on Kubernetes.

dask-kubernetes' own resource starts `dask-scheduler`, a command that recent versions of Dask lack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787


def dask_cluster_resource(
    name: str,
    image: str,
    workers: int,
    resources: Mapping[str, Any],
    env: Mapping[str, str],
    declared: Mapping[str, int],
) -> dict[str, Any]:
    """Return a `kubernetes.dask.org/v1` DaskCluster of single-threaded workers, as plain data.

    Args:
        resources: requests and limits of each container.
        env: environment of scheduler and workers.
        declared: Dask resources of each worker.
    """
    ports = {"tcp-comm": SCHEDULER_PORT, "http-dashboard": DASHBOARD_PORT}
    container = {
        "image": image,
        "resources": resources,
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    scheduler = container | {
        "name": "scheduler",
        "args": ["dask", "scheduler"],
        "ports": [{"name": k, "containerPort": port, "protocol": "TCP"} for k, port in ports.items()],
        "readinessProbe": {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 5},
    }
    # Kubernetes expands $(DASK_WORKER_NAME), which the operator sets.
    worker = container | {
        "name": "worker",
        "args": [
            *("dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--no-dashboard"),
            *("--resources", " ".join(f"{name}={amount}" for name, amount in declared.items())),
        ],
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {
                "spec": {"containers": [scheduler]},
                "service": {
                    "type": "ClusterIP",
                    "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": key, "protocol": "TCP", "port": port, "targetPort": key}
                        for key, port in ports.items()
                    ],
                },
            },
            "worker": {"replicas": workers, "spec": {"containers": [worker]}},
        },
    }

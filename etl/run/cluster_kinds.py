"""The cluster configs of conf/cluster/*.yaml: strict, typed, frozen.

Each kind names a cluster class by its import path, the class's arguments, and a fixed or adaptive size; only
the kind `scheduler` has the address of an existing scheduler instead.
"""

from __future__ import annotations

import logging
import math
import uuid
from typing import Annotated, Any, ClassVar, Literal, Self

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed.worker_memory import parse_memory_limit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from etl.core.secrets import credential_in
from etl.run.dask_cluster_resource import dask_cluster_resource
from etl.run.task_memory import MEMORY, task_bytes

logger = logging.getLogger(__name__)

# A worker leaves this long before its job's walltime, but not before half of it, so that its tasks move on.
LEAVE_EARLY_SECONDS = 300


def _amount(value: str) -> str:
    parse_bytes(value)  # raises ValueError
    return value


Bytes = Annotated[str, AfterValidator(_amount)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Size(_Section):
    """Number of workers: a fixed number, or bounds between which the cluster adapts to the tasks."""

    minimum: int = Field(0, ge=0, description="workers that stay without tasks")
    maximum: int = Field(ge=1, description="most workers")

    @property
    def is_fixed(self) -> bool:
        return self.minimum == self.maximum

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if not isinstance(value, int | dict | Size):
            raise ValueError("a number, or {minimum: 0, maximum: 64}")
        return {"minimum": value, "maximum": value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum <= maximum, not {self.minimum} and {self.maximum}")
        return self


class Tls(_Section):
    """Certificates in PEM files; those of workers and scheduler must be signed by the same authority."""

    ca_file: str = Field(min_length=1, description="the authority's certificate")
    cert: str = Field(min_length=1, description="the client's certificate")
    key: str = Field(min_length=1, description="the client's key")

    @field_validator("ca_file", "cert", "key")
    @classmethod
    def _there(cls, value: str) -> str:
        try:
            open(value, "rb").close()
        except OSError as error:
            raise ValueError(f"it can't be read: {error.strerror}") from error
        return value


class Serial(_Section):
    """No cluster: one task after the other, in the job's own process."""

    kind: Literal["serial"]


class ExistingScheduler(_Section):
    """A scheduler that runs already."""

    kind: Literal["scheduler"]
    address: str = Field(
        min_length=1, description="the address that `dask scheduler` printed, tcp:// or tls://"
    )
    tls: Tls | None = Field(None, description="certificates, for tls://")
    wait_for_worker_s: float = Field(60, gt=0, description="time limit for its first worker")
    task_bytes: int | None = Field(
        None, ge=0, description="memory of a worker for one task, used while there is no worker to ask"
    )

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.tls and not self.address.startswith("tls://"):
            raise ValueError("with `tls` the address must start with tls://")
        if credential_in(self.address):
            raise ValueError("the address holds a password; schedulers know certificates only, see `tls`")
        return self


class _Started(_Section):
    """A cluster that the job starts, and stops at its end."""

    # The extra of this package that installs the kind's dependencies, and the commands that it calls.
    extra: ClassVar[str | None] = None
    commands: ClassVar[tuple[str, ...]] = ()

    workers: Size = Field(description="a number, or {minimum, maximum}")
    wait_for_worker_s: float = Field(60, gt=0, description="time limit for the first worker")

    @property
    def class_path(self) -> str:
        """Import path of the cluster class, `module.Class`."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the cluster class."""
        raise NotImplementedError

    @property
    def task_bytes(self) -> int | None:
        """Memory of a worker for one task; None without a limit, or if this config does not set it."""
        return None

    @property
    def is_adapted(self) -> bool:
        """True if Dask scales the cluster continuously, False if its size is set once."""
        return not self.workers.is_fixed


class _Own(_Started):
    """A cluster whose scheduler runs in the job's own process."""

    tls: bool = Field(True, description="encrypt and authenticate by certificates that the job makes")
    dashboard_port: int = Field(0, ge=0, le=65535, description="port on loopback; 0 is any free one")


class Local(_Own):
    """Processes on this machine, one thread each: decoding holds the GIL part of the time."""

    kind: Literal["local"]
    workers: Size = Field(
        Size(minimum=CPU_COUNT, maximum=CPU_COUNT), description="processes; by default one a core"
    )
    memory_per_worker: Bytes | None = Field(None, description="such as 4 GiB; an equal share if null")

    @property
    def class_path(self) -> str:
        return "distributed.LocalCluster"

    @property
    def _memory_limit_bytes(self) -> int | None:
        return parse_memory_limit(self.memory_per_worker or "auto", 1, self.workers.maximum, logger=logger)

    @property
    def task_bytes(self) -> int | None:
        limit = self._memory_limit_bytes
        return task_bytes(limit) if limit else None

    def arguments(self) -> dict[str, Any]:
        limit = self._memory_limit_bytes
        return {
            "n_workers": self.workers.minimum,
            "threads_per_worker": 1,
            "memory_limit": limit,
            "resources": {MEMORY: task_bytes(limit)} if limit else {},
            "processes": True,
            "host": "127.0.0.1",
            # Workers get no dashboard: importing it is most of their start-up time.
            "dashboard_address": f"127.0.0.1:{self.dashboard_port}",
            "silence_logs": 40,
            "preload": ["etl.run.worker"],
        }


class Slurm(_Own):
    """Slurm jobs of `cores` single-threaded workers each, submitted by dask-jobqueue."""

    extra = "slurm"
    commands = ("sbatch", "scancel")

    kind: Literal["slurm"]
    cores: int = Field(ge=1, description="cores and workers of one Slurm job")
    memory: Bytes = Field(description="memory of one Slurm job, such as 16 GiB")
    walltime: str = Field("24:00:00", pattern=r"^\d+:[0-5]\d:[0-5]\d$", description="HH:MM:SS")
    queue: str | None = Field(None, description="partition")
    account: str | None = Field(None, description="Slurm account to charge")
    interface: str | None = Field(None, description="network interface between the nodes, such as ib0")
    directives: tuple[str, ...] = Field((), description="further #SBATCH options")
    prologue: tuple[str, ...] = Field((), description="shell lines before the worker, such as `module load`")
    python: str | None = Field(None, description="interpreter on the nodes; the job's own if null")
    log_folder: str | None = Field(None, description="folder for the workers' logs")
    scratch_folder: str | None = Field(None, description="fast local folder of the nodes")
    options: dict[str, Any] = Field({}, description="further arguments of dask_jobqueue.SLURMCluster")
    wait_for_worker_s: float = Field(3600, gt=0, description="time limit for the first worker")

    @property
    def class_path(self) -> str:
        return "dask_jobqueue.SLURMCluster"

    @property
    def is_adapted(self) -> bool:
        # Only adaptive scaling replaces a worker whose job Slurm ended.
        return True

    @property
    def task_bytes(self) -> int:
        memory = parse_bytes(self.options.get("memory", self.memory))
        return task_bytes(memory / self.options.get("processes", self.cores))

    def arguments(self) -> dict[str, Any]:
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        walltime_s = 3600 * hours + 60 * minutes + seconds
        lifetime_s = math.ceil(max(walltime_s - LEAVE_EARLY_SECONDS, walltime_s / 2))
        return {
            "cores": self.cores,
            "processes": self.cores,
            "memory": self.memory,
            "walltime": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "interface": self.interface,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": list(self.prologue),
            "python": self.python,
            "log_directory": self.log_folder,
            "local_directory": self.scratch_folder,
            "worker_extra_args": [
                *("--lifetime", f"{lifetime_s}s"),
                *("--resources", f"{MEMORY}={self.task_bytes}"),
            ],
            "job_name": "deeplesion",
            "scheduler_options": {"dashboard_address": f"127.0.0.1:{self.dashboard_port}"},
        } | self.options


class Kubernetes(_Started):
    """Pods of the Dask operator, which must run in the Kubernetes cluster; workers have one thread."""

    extra = "kubernetes"

    kind: Literal["kubernetes"]
    image: str = Field(min_length=1, description="container image with this package in the job's version")
    namespace: str = Field("default", min_length=1, description="namespace of the pods")
    cpu: str = Field("1", min_length=1, description="CPU of one worker")
    memory: Bytes = Field("4Gi", description="memory of one worker")
    env: dict[str, str] = Field({}, description="environment of scheduler and workers")
    options: dict[str, Any] = Field({}, description="further arguments of dask_kubernetes' KubeCluster")
    wait_for_worker_s: float = Field(600, gt=0, description="time limit for the first pod")

    @property
    def class_path(self) -> str:
        return "dask_kubernetes.operator.KubeCluster"

    @property
    def task_bytes(self) -> int | None:
        # A specification of the user's own sets its memory itself.
        return None if "custom_cluster_spec" in self.options else task_bytes(parse_bytes(self.memory))

    def arguments(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory}
        resources = {"requests": amounts, "limits": amounts}
        name, declared = f"deeplesion-{uuid.uuid4().hex[:8]}", {MEMORY: task_bytes(parse_bytes(self.memory))}
        return {
            "namespace": self.namespace,
            "custom_cluster_spec": dask_cluster_resource(
                name, self.image, self.workers.minimum, resources, self.env, declared
            ),
            "quiet": True,
        } | self.options


class OtherClass(_Started):
    """Any other class with the interface of Dask's Cluster."""

    kind: Literal["class"]
    path: str = Field(pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$", description="module.Class")
    options: dict[str, Any] = Field({}, description="keyword arguments of the class")

    @property
    def class_path(self) -> str:
        return self.path

    def arguments(self) -> dict[str, Any]:
        return self.options


Started = Local | Slurm | Kubernetes | OtherClass
Cluster = Serial | ExistingScheduler | Started

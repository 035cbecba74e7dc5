"""Where work happens, as conf/cluster/*.yaml say it: strict, typed, frozen.

Every kind comes down to the same: a cluster class by its import path, its arguments, and a size that is fixed
or adaptive. Only a scheduler that stands already has an address instead.
"""

from __future__ import annotations

import logging
import math
import uuid
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed.worker_memory import parse_memory_limit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from etl.run.dask_cluster_resource import dask_cluster_resource
from etl.run.worker_memory import MEMORY, task_bytes

logger = logging.getLogger(__name__)

# A worker leaves this long before its job's walltime, so that its tasks start elsewhere: at most half of it.
LEAVE_EARLY_SECONDS = 300


def _amount(value: str) -> str:
    parse_bytes(value)  # raises ValueError
    return value


Bytes = Annotated[str, AfterValidator(_amount)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Size(_Section):
    """How many workers: written as a number, or as bounds between which it follows the work."""

    minimum: int = Field(0, ge=0, description="workers that stay when there is nothing to do")
    maximum: int = Field(ge=1, description="workers at most")

    @property
    def is_fixed(self) -> bool:
        return self.minimum == self.maximum

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"minimum": value, "maximum": value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum <= maximum, not {self.minimum} and {self.maximum}")
        return self


class Tls(_Section):
    """Certificates in PEM files. Workers and scheduler have to show ones of the same authority."""

    ca_file: str = Field(min_length=1, description="the authority's certificate")
    cert: str = Field(min_length=1, description="the client's certificate")
    key: str = Field(min_length=1, description="the client's key")

    @field_validator("ca_file", "cert", "key")
    @classmethod
    def _there(cls, value: str) -> str:
        if not Path(value).is_file():
            raise ValueError("there is no such file")
        return value


class Serial(_Section):
    """No cluster: one task after the other, in the job's own process."""

    kind: Literal["serial"]


class Standing(_Section):
    """A scheduler that somebody started."""

    kind: Literal["scheduler"]
    address: str = Field(min_length=1, description="what `dask scheduler` printed, tcp:// or tls://")
    tls: Tls | None = Field(None, description="certificates, for tls://")
    wait_for_worker_s: float = Field(60, gt=0, description="how long its first worker may take to come")
    task_bytes: int | None = Field(
        None, ge=0, description="memory that a worker has for one task, told while there is none to ask"
    )

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.tls and not self.address.startswith("tls://"):
            raise ValueError("with `tls` the address starts with tls://")
        return self


class _Started(_Section):
    """A cluster that lives as long as the job."""

    # The extra of this package that installs what the kind needs, and the commands that it calls.
    extra: ClassVar[str | None] = None
    commands: ClassVar[tuple[str, ...]] = ()

    workers: Size = Field(description="a number, or {minimum, maximum}")
    wait_for_worker_s: float = Field(60, gt=0, description="how long the first worker may take to come")

    @property
    def class_path(self) -> str:
        """The cluster class, as `module.Class`."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """What the class is called with."""
        raise NotImplementedError

    @property
    def task_bytes(self) -> int | None:
        """The memory that a worker has for one task; None without a limit, or where that is not told here."""
        return None

    @property
    def is_adapted(self) -> bool:
        """Let Dask keep the size, rather than say it once."""
        return not self.workers.is_fixed


class Local(_Started):
    """Processes on this machine, one thread each: decoding holds the interpreter in part."""

    kind: Literal["local"]
    workers: Size = Field(
        Size(minimum=CPU_COUNT, maximum=CPU_COUNT), description="processes; one a core where not given"
    )
    memory_per_worker: Bytes | None = Field(None, description="such as 4 GiB; an equal share where null")

    @property
    def class_path(self) -> str:
        return "distributed.LocalCluster"

    @property
    def _memory_limit_bytes(self) -> int | None:
        return parse_memory_limit(self.memory_per_worker or "auto", 1, logger=logger)

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
            # Some free port: a fixed one may be taken. Workers have no page: loading it takes longest.
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": 40,
            "preload": ["etl.run.worker_preload"],
        }


class Slurm(_Started):
    """Slurm jobs of `cores` single-threaded workers each, which dask-jobqueue submits."""

    extra = "slurm"
    commands = ("sbatch", "scancel")

    kind: Literal["slurm"]
    cores: int = Field(ge=1, description="cores, and workers, of one Slurm job")
    memory: Bytes = Field(description="of one Slurm job, such as 16 GiB")
    walltime: str = Field("24:00:00", pattern=r"^\d+:[0-5]\d:[0-5]\d$", description="HH:MM:SS")
    queue: str | None = Field(None, description="partition")
    account: str | None = Field(None, description="account to charge")
    interface: str | None = Field(None, description="network that the nodes reach each other by, such as ib0")
    directives: tuple[str, ...] = Field((), description="further #SBATCH options")
    prologue: tuple[str, ...] = Field((), description="shell lines before the worker, such as `module load`")
    python: str | None = Field(None, description="interpreter on the nodes; the job's own where null")
    log_folder: str | None = Field(None, description="where Slurm puts the workers' logs")
    scratch_folder: str | None = Field(None, description="fast local folder of the nodes")
    options: dict[str, Any] = Field({}, description="further arguments of dask_jobqueue.SLURMCluster")
    wait_for_worker_s: float = Field(3600, gt=0, description="how long the queue may take")

    @property
    def class_path(self) -> str:
        return "dask_jobqueue.SLURMCluster"

    @property
    def is_adapted(self) -> bool:
        # A worker whose job Slurm ended is replaced by adapting only.
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
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        } | self.options


class Kubernetes(_Started):
    """Pods of the Dask operator, which has to run in the Kubernetes cluster; workers have one thread."""

    extra = "kubernetes"

    kind: Literal["kubernetes"]
    image: str = Field(min_length=1, description="an image that has this package, of the job's own version")
    namespace: str = Field("default", min_length=1, description="where the pods go")
    cpu: str = Field("1", min_length=1, description="processor of one worker")
    memory: Bytes = Field("4Gi", description="of one worker")
    env: dict[str, str] = Field({}, description="environment of scheduler and workers")
    options: dict[str, Any] = Field({}, description="further arguments of dask_kubernetes' KubeCluster")
    wait_for_worker_s: float = Field(600, gt=0, description="how long the first pod may take to come")

    @property
    def class_path(self) -> str:
        return "dask_kubernetes.operator.KubeCluster"

    @property
    def task_bytes(self) -> int | None:
        # A specification of the user's own says its memory itself.
        return None if "custom_cluster_spec" in self.options else task_bytes(parse_bytes(self.memory))

    def arguments(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory}
        resources = {"requests": amounts, "limits": amounts}
        name = f"deeplesion-{uuid.uuid4().hex[:8]}"
        return {
            "namespace": self.namespace,
            "custom_cluster_spec": dask_cluster_resource(
                name,
                self.image,
                self.workers.minimum,
                resources,
                self.env,
                {MEMORY: task_bytes(parse_bytes(self.memory))},
            ),
            "quiet": True,
        } | self.options


class OtherClass(_Started):
    """Any other cluster class of Dask's own interface."""

    kind: Literal["class"]
    path: str = Field(pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$", description="module.Class")
    options: dict[str, Any] = Field({}, description="the class's arguments")

    @property
    def class_path(self) -> str:
        return self.path

    def arguments(self) -> dict[str, Any]:
        return self.options


Started = Local | Slurm | Kubernetes | OtherClass
Cluster = Serial | Standing | Started

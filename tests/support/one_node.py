"""A real Slurm of one node on the loopback interface: munged, slurmctld and slurmd of Debian's packages.

Installed packages are used where there are any; else Debian's are unpacked below `build/`: no root needed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import ROOT, environment, run, running, wait_until
from tests.support.require import wanting

PACKAGES = Path(__file__).with_name("slurm_packages.sh")
UNPACKED = ROOT / "build" / "slurm"
CANNOT = 77

# One node, no accounting, no cgroups: what a container without systemd allows. Ports of one run do not meet
# those of another.
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,defer
MailProg={true}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm: what a process needs in its environment to use it."""

    folder: Path
    variables: Mapping[str, str]

    def environment(self, **more: str) -> dict[str, str]:
        """For a process that calls sbatch, squeue or scancel."""
        return environment(**self.variables, **more)

    def command(self, *words: str) -> str:
        """Return the output of one of Slurm's commands."""
        done = run(list(words), env=self.environment())
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self) -> list[str]:
        """Numbers of the jobs that wait or run."""
        return self.command("squeue", "--noheader", "--format=%A").split()


@functools.cache
def _prefix() -> Path:
    """The folder below which Slurm's `usr/` lies; skips the test where there is none."""
    if shutil.which("slurmctld", path="/usr/sbin") and shutil.which("sbatch"):
        return Path("/")
    if not UNPACKED.is_dir():
        done = subprocess.run([str(PACKAGES), str(UNPACKED)], capture_output=True, text=True, timeout=300)
        if done.returncode == CANNOT:
            wanting("slurm", f"needs Slurm: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
    return UNPACKED


def _program(prefix: Path, name: str) -> str:
    """Debian's names end with -wlm, and its alternatives are links that an unpacked package lacks."""
    places = [prefix / "usr" / folder / f"{name}{end}" for folder in ("bin", "sbin") for end in ("", "-wlm")]
    return str(next(place for place in places if place.is_file()))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]


@contextlib.contextmanager
def one_node(folder: Path, cpus: int = 2) -> Iterator[Slurm]:
    """A Slurm with `cpus` processors, its files in `folder`; skips the test if Slurm can't be installed."""
    prefix = _prefix()
    library = next((prefix / "usr" / "lib").glob("*-linux-gnu"))
    controller_port, node_port = _free_ports(2)
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            user=psutil.Process().username(),
            controller_port=controller_port,
            node_port=node_port,
            plugins=library / "slurm-wlm",
            true=shutil.which("true"),
            cpus=cpus,
        )
    )
    for name in ("sbatch", "scancel", "squeue", "sinfo", "scontrol"):
        (folder / "bin" / name).symlink_to(_program(prefix, name))
    slurm = Slurm(
        folder,
        {
            "SLURM_CONF": str(config),
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "LD_LIBRARY_PATH": f"{library}:{library / 'slurm-wlm'}",
        },
    )
    munged = [_program(prefix, "munged"), "--foreground", "--force", "--num-threads=1"]
    for option in ("socket", "key-file", "pid-file", "seed-file"):
        munged.append(f"--{option}={folder}/munge.{option.removesuffix('-file')}")
    stepd = _program(prefix, "slurmstepd")
    with contextlib.ExitStack() as stack:

        def start(name: str, command: list[str]) -> None:
            stack.enter_context(running(command, folder / f"{name}.out", env=slurm.environment()))

        start("munged", munged)
        wait_until((folder / "munge.socket").exists, "munged listened")
        start("slurmctld", [_program(prefix, "slurmctld"), "-D", "-f", str(config)])
        start("slurmd", [_program(prefix, "slurmd"), "-D", "-f", str(config), "-d", stepd])
        wait_until(lambda: _is_idle(slurm), f"the node was idle; see {folder}")
        try:
            yield slurm
        finally:
            _end_jobs(slurm)


def _is_idle(slurm: Slurm) -> bool:
    state = run(["sinfo", "--noheader", "--format=%t"], env=slurm.environment())
    return state.stdout.strip() == "idle"


def _end_jobs(slurm: Slurm) -> None:
    """Cancel what runs; what Slurm leaves behind is known by its config in its environment, and killed."""
    run(["scancel", "--user", psutil.Process().username()], env=slurm.environment())
    with contextlib.suppress(AssertionError):
        wait_until(lambda: slurm.jobs() == [], "jobs had ended", 15)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("SLURM_CONF") == slurm.variables["SLURM_CONF"]
            if ours and process.name().startswith("slurmstepd"):
                for other in [*process.children(recursive=True), process]:
                    other.kill()

"""A real Slurm of one node in a temporary folder: its own munged, slurmctld and slurmd, with devices posing as GPUs.

Needs root and Debian's packages slurm-wlm and munge, with accounting also slurmdbd and mariadb-server; nothing outside
the folder is read or written. To try the profile by hand:

    python -m tests.slurm_cluster       # prints what to export, and stops the cluster on Ctrl-C
"""

import contextlib
import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
GPUS = 3
# Any character device stands in for a GPU: Slurm counts them and gives each job its own numbers.
NULL = os.makedev(1, 3)  # what /dev/null is

SLURM_CONF = """
ClusterName=nrd
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
{accounting}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
GresTypes=gpu
ReturnToService=2
MinJobAge=86400
KillWait=2
MessageTimeout=30
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=60 State=UP
"""


SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""


def why_not(accounting: bool = False) -> str | None:
    """Return why no cluster can be started here, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    programs = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    if missing := [program for program in programs if shutil.which(program, path=path) is None]:
        packages = "slurm-wlm munge" + (" slurmdbd mariadb-server" if accounting else "")
        return f"no {', '.join(missing)} (Debian: apt-get install {packages})"
    if os.geteuid() != 0:
        return "Slurm's daemons are started by root here"
    return _no_devices()


@cache
def _no_devices() -> str | None:
    """Containers may forbid root to make devices."""
    with tempfile.TemporaryDirectory(prefix="nrd-slurm-") as folder:
        try:
            _make_device(Path(folder) / "gpu0")
        except OSError as error:
            return f"no devices can be made to pose as GPUs ({error.strerror})"
    return None


def _make_device(path: Path) -> Path:
    os.mknod(path, stat.S_IFCHR | 0o600, NULL)
    return path


class Cluster:
    """A running cluster; use it as a context manager."""

    def __init__(self, accounting: bool = False) -> None:
        self.accounting = accounting
        # Not pytest's folder: a socket's path may have 107 characters at most.
        self.folder = Path(tempfile.mkdtemp(prefix="nrd-slurm-"))
        self.folder.chmod(0o711)  # munged insists that everybody can reach its socket
        self.host = platform.node().split(".")[0]
        self.ports = dict(zip(("controller", "node", "accounting", "database"), _free_ports(4), strict=True))
        self.daemons: dict[str, subprocess.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need to find this cluster, which is not where Slurm is configured by default."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __enter__(self) -> "Cluster":
        try:
            for name in ("state", "spool", "bin"):
                (self.folder / name).mkdir()
            self._wrap_srun()
            self._configure()
            (self.folder / "munge.key").write_bytes(os.urandom(128))
            (self.folder / "munge.key").chmod(0o400)
            self._start_munged()
            if self.accounting:
                self._start_accounting()
            self.start("slurmctld")
            self.start("slurmd", "-N", self.host)
            self.wait_for_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if "slurmctld" in self.daemons:
            self.cancel_all()
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        content = SLURM_CONF.format(
            host=self.host,
            folder=self.folder,
            controller_port=self.ports["controller"],
            node_port=self.ports["node"],
            gpus=GPUS,
            accounting=self._storage(),
        )
        (self.folder / "slurm.conf").write_text(content)
        devices = [_make_device(self.folder / f"gpu{number}") for number in range(GPUS)]
        gres = "".join(f"NodeName={self.host} Name=gpu File={device}\n" for device in devices)
        (self.folder / "gres.conf").write_text(gres)

    def _storage(self) -> str:
        if not self.accounting:
            return NO_ACCOUNTING
        return ACCOUNTING.format(port=self.ports["accounting"], folder=self.folder)

    def _wrap_srun(self) -> None:
        """Within a job Snakemake's plugin drops SLURM_CONF, among other variables, before it calls srun."""
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def _start_munged(self) -> None:
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        self._spawn("munged", "--foreground", *options)
        _wait("munged", lambda: (self.folder / "munge.socket").exists())

    def _start_accounting(self) -> None:
        """A database of its own, the daemon before it, and this cluster's name in it."""
        data = f"--datadir={self.folder / 'database'}"
        self.command("mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db", data)
        host = ["--bind-address=127.0.0.1", f"--port={self.ports['database']}", f"--socket={self.folder / 'db.socket'}"]
        grants = "--skip-grant-tables"  # whoever reaches it may do everything: for the minutes that it lives
        self._spawn("mariadbd", "--no-defaults", "--user=root", data, *host, grants, "--skip-networking=0")
        _wait("mariadbd", lambda: _answers(self.ports["database"]), self.logs)
        conf = self.folder / "slurmdbd.conf"
        conf.touch(0o600)
        conf.write_text(
            SLURMDBD_CONF.format(
                host=self.host,
                folder=self.folder,
                port=self.ports["accounting"],
                database_port=self.ports["database"],
            )
        )
        self.start("slurmdbd")
        _wait("slurmdbd", lambda: _answers(self.ports["accounting"]), self.logs)
        self.command("sacctmgr", "--immediate", "add", "cluster", "nrd")

    def start(self, name: str, *arguments: str) -> None:
        """Start one of Slurm's daemons as a child of this process."""
        self._spawn(name, "-D", *arguments)

    def _spawn(self, name: str, *arguments: str) -> None:
        environment = {**os.environ, **self.environment}
        program = shutil.which(name, path=f"{environment['PATH']}{os.pathsep}/usr/sbin")
        with (self.folder / f"{name}.out").open("a") as output:
            self.daemons[name] = subprocess.Popen(
                [program, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a daemon that was started here; killed outright where it does not end by itself."""
        process = self.daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run one of Slurm's commands and return its output."""
        environment = {**os.environ, **self.environment}
        process = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240)
        assert not check or process.returncode == 0, f"{arguments}: {process.stderr}"
        return process.stdout

    def wait_for_node(self) -> None:
        """Wait until jobs can start."""
        states = ("idle", "mixed", "allocated")
        ready = lambda: self.command("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).strip() in states  # noqa: E731
        _wait("slurmd", ready, self.logs)

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for error messages."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("slurm*.log")))

    def jobs(self) -> dict[int, dict[str, str]]:
        """Return all jobs that Slurm remembers by number, with ``scontrol``'s fields and ``train``, the run's name."""
        jobs = {}
        for line in self.command("scontrol", "show", "job", "--details", "--oneliner", check=False).splitlines():
            job = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if "JobId" in job:
                job["train"] = job.get("Comment", "").removeprefix("rule_train_wildcards_")
                jobs[int(job["JobId"])] = job
        return jobs

    def cancel_all(self) -> None:
        """Cancel what is left in the queue and wait until it is gone."""
        self.command("scancel", "--user=root", "--signal=KILL", check=False)
        self.command("scancel", "--user=root", check=False)
        deadline = time.monotonic() + 15
        while self.command("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
            time.sleep(0.5)


def _wait(what: str, ready, explain=lambda: "", seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} is not ready after {seconds} s\n{explain()}"
        time.sleep(0.2)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(f"error: {reason}")
    with Cluster(accounting="--accounting" in sys.argv) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']} PATH={cluster.folder}/bin:$PATH", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()

"""A real Slurm of one node in a temporary folder: its own munged, slurmctld and slurmd, with devices posing as GPUs.

Needs root and Debian's packages slurm-wlm and munge; nothing outside the folder is read or written. To try the profile
by hand:

    python -m tests.slurm_cluster       # prints what to export, and stops the cluster on Ctrl-C
"""

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
GPUS = 3
# Any character device stands in for a GPU: Slurm counts them and gives each job its own numbers.
DEVICES = [Path(f"/dev/tty{40 + number}") for number in range(GPUS)]

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
MinJobAge=300
KillWait=2
MessageTimeout=30
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=60 State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    if missing := [program for program in PROGRAMS if shutil.which(program, path=path) is None]:
        return f"no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "Slurm's daemons are started by root here"
    if missing := [str(device) for device in DEVICES if not device.is_char_device()]:
        return f"no {', '.join(missing)} to pose as GPUs"
    return None


class Cluster:
    """A running cluster; use it as a context manager."""

    def __init__(self) -> None:
        # Not pytest's folder: a socket's path may have 107 characters at most.
        self.folder = Path(tempfile.mkdtemp(prefix="nrd-slurm-"))
        self.folder.chmod(0o711)  # munged insists that everybody can reach its socket
        self.host = platform.node().split(".")[0]
        self.ports = _free_ports(3)
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
            self.configure()
            (self.folder / "munge.key").write_bytes(os.urandom(128))
            (self.folder / "munge.key").chmod(0o400)
            self._start_munged()
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
        for name in ("slurmd", "slurmctld", "slurmdbd", "munged"):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def configure(self, accounting: str = "AccountingStorageType=accounting_storage/none") -> None:
        """Write the configuration; daemons read it when they start."""
        content = SLURM_CONF.format(
            host=self.host,
            folder=self.folder,
            controller_port=self.ports[0],
            node_port=self.ports[1],
            gpus=GPUS,
            accounting=accounting,
        )
        (self.folder / "slurm.conf").write_text(content)
        gres = "".join(f"NodeName={self.host} Name=gpu File={device}\n" for device in DEVICES)
        (self.folder / "gres.conf").write_text(gres)

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
        process = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)
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


def _wait(what: str, ready, explain=lambda: "", seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} is not ready after {seconds} s\n{explain()}"
        time.sleep(0.2)


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
    with Cluster() as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']} PATH={cluster.folder}/bin:$PATH", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()

"""Machines of a Ray cluster, all on this one: each has its own network, processes and /tmp, as a pod has.

`make cluster-test` runs the tests in namespaces of their own, where they may make these; the kernel takes everything away
when they end, however they end.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.configuration import ROOT, write_launcher

ENVIRONMENT = Path(sys.prefix)
SUBNET = "10.77.0"
BRIDGE = "dqbart"
HEAD = f"{SUBNET}.2"
OBJECT_STORE_BYTES = 100 << 20

HTTP, GRPC, METRICS = 8000, 9000, 9400
"""Ports, the same on every machine."""

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

START = """
mount --make-rprivate /
for kept in {kept}; do mkdir -p {tmp}/$kept; mount --bind /tmp/$kept {tmp}/$kept; done
mount --rbind {tmp} /tmp
cd {root}
echo ready; read connected
ip link set lo up && ip link set eth0 up && ip address add {address}/24 dev eth0 && ip route add default via {gateway}
ulimit -n 65536 || true
exec {ray} >/tmp/output 2>&1
"""
"""What a machine does first. What is in the real /tmp and it needs stays there."""


class Network:
    """What the machines are plugged into, this process too."""

    def __init__(self) -> None:
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{SUBNET}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")

    def plug_in(self, name: str, pid: int) -> None:
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("link", "set", name, "master", BRIDGE, "up")

    def pull_out(self, name: str) -> None:
        _ip("link", "set", name, "down")


class Machine:
    """One that runs Ray: the cluster's head, or one more that joins it."""

    def __init__(self, network: Network, number: int, environment: Mapping[str, str], cpus: int) -> None:
        """`number`, from 2, is the last part of the address; 2 is the head's."""
        self.address = f"{SUBNET}.{number}"
        self._network, self._name = network, f"machine{number}"
        # HAProxy's socket is in it, whose path may have 107 characters.
        self.tmp = Path(tempfile.mkdtemp(prefix="dqbart-"))
        write_launcher(self.tmp)
        ray = [str(ENVIRONMENT / "bin" / "ray"), "start", "--block", "--disable-usage-stats", f"--num-cpus={cpus}"]
        ray += [f"--node-ip-address={self.address}", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        ray += ["--head", "--dashboard-host=0.0.0.0"] if self.address == HEAD else [f"--address={HEAD}:6379"]
        kept = {str(path.relative_to("/tmp")) for path in (ROOT, ENVIRONMENT) if path.is_relative_to("/tmp")}
        script = START.format(
            kept=shlex.join(kept),
            tmp=self.tmp,
            root=shlex.quote(str(ROOT)),
            address=self.address,
            gateway=f"{SUBNET}.1",
            ray=shlex.join(ray),
        )
        self._process = subprocess.Popen(
            [*NAMESPACES, "sh", "-ec", script],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if (first := self._process.stdout.readline()) != "ready\n":
            raise AssertionError(first + self._process.stdout.read())
        # As long as this is open, the network outlives the processes: a connection is then refused, as one to a machine is
        # whose processes have died.
        self._network_file = os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY)
        network.plug_in(self._name, self._process.pid)
        self._process.stdin.write("\n")
        self._process.stdin.close()

    def url(self, port: int = HTTP) -> str:
        return f"http://{self.address}:{port}"

    @property
    def grpc_address(self) -> str:
        return f"{self.address}:{GRPC}"

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to every process, all at once: the first one's end is the others'."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in map(int, children):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def pull_out(self) -> None:
        """Take it off the network, so that nobody hears of it any more, not even that it is gone."""
        self._network.pull_out(self._name)

    def close(self) -> None:
        if self.is_alive:
            self.kill()
        os.close(self._network_file)
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self.tmp, ignore_errors=True)

    def logs(self) -> str:
        """What Ray printed, and the last lines of what its processes logged."""
        files = [self.tmp / "output", *sorted(self.tmp.glob("ray/session_2*/logs/serve/*.log"))]
        return "\n".join(f"{path}:\n{path.read_text()[-3000:]}" for path in files if path.exists())


def reason_against() -> str | None:
    """Why there can be no machines here, or None."""
    try:
        links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
        done = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"{error}: util-linux and iproute2 are needed"
    if len(links.splitlines()) > 1:
        return "these tests change the network, and run in one of their own: make cluster-test"
    return f"no namespaces can be made here: {done.stderr.strip()}" if done.returncode else None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(arguments)}: {done.stderr}")

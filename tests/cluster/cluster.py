"""A Ray cluster that runs the application: machines join and leave, a config is deployed, replicas are found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.configuration import ray_environment
from tests.cluster.nodes import METRICS, Machine, Network

DASHBOARD = 8265
SECONDS = 120


class Cluster:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._environment = ray_environment()
        self.machines: list[Machine] = []

    def add(self, cpus: int) -> Machine:
        """Start one more machine, the first one as the head. It has joined when replicas are placed on it."""
        machine = Machine(self._network, len(self.machines) + 2, self._environment, cpus)
        self.machines.append(machine)
        return machine

    def deploy(self, config: Path) -> None:
        """What `serve deploy` does, by running it."""
        self.wait(lambda: self._ask().status_code == httpx.codes.OK, "the head's dashboard does not answer")
        command = [str(Path(sys.executable).with_name("serve")), "deploy", str(config), "--address", self._dashboard]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def cores(self) -> int:
        """Of all machines that have joined."""
        status = self.dashboard_says("/api/cluster_status").json()["data"]["clusterStatus"]
        return int(status["loadMetricsReport"]["usage"]["CPU"][1])

    def places(self) -> list[str]:
        """The address of the machine of each replica that runs."""
        applications = self._ask().json()["applications"].values()
        deployments = [each for application in applications for each in application["deployments"].values()]
        replicas = [replica for deployment in deployments for replica in deployment["replicas"]]
        return sorted(replica["node_ip"] for replica in replicas if replica["state"] == "RUNNING")

    def wait_for_replicas(self, *machines: Machine) -> None:
        """Return when there is one on each, and each machine hands requests to all of them."""
        wanted = sorted(machine.address for machine in machines)
        self.wait(lambda: self.places() == wanted, f"replicas are wanted on {wanted}")
        for machine in set(machines):
            self.wait(
                lambda machine=machine: sorted(host for host, _ in upstreams(machine)) == wanted, "HAProxy was not told"
            )
            self.wait(lambda machine=machine: is_ready(machine), f"{machine.address} does not answer")

    def wait(self, condition: Callable[[], bool], fault: str) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                if condition():
                    return
            except (httpx.HTTPError, ValueError):
                # Not yet.
                pass
            logs = "\n\n".join(machine.logs() for machine in self.machines)
            assert time.monotonic() < deadline, f"{fault}\n{logs}"
            time.sleep(0.1)

    @property
    def _dashboard(self) -> str:
        return self.machines[0].url(DASHBOARD)

    def _ask(self) -> httpx.Response:
        return self.dashboard_says("/api/serve/applications/")

    def dashboard_says(self, path: str, **asked: Any) -> httpx.Response:
        """What the head answers at a path, to a POST where something is asked."""
        headers = {"Authorization": f"Bearer {self._environment['RAY_AUTH_TOKEN']}"}
        method = "POST" if asked else "GET"
        return httpx.request(method, f"{self._dashboard}{path}", headers=headers, timeout=60, json=asked or None)


@contextmanager
def cluster(network: Network) -> Iterator[Cluster]:
    running = Cluster(network)
    try:
        yield running
    finally:
        for machine in running.machines:
            machine.close()


def is_ready(machine: Machine) -> bool:
    return httpx.get(f"{machine.url()}/readyz", timeout=60).status_code == httpx.codes.OK


def upstreams(machine: Machine) -> list[tuple[str, int]]:
    """Where a machine's HAProxy sends HTTP requests: address and port of each replica that it was told of."""
    (path,) = machine.tmp.glob("haproxy-serve/*/haproxy.cfg")
    config = path.read_text()
    backend = config.partition("\nbackend http-")[2].partition("\nbackend ")[0].partition("\nfrontend ")[0]
    servers = [line.split()[2] for line in backend.splitlines() if line.startswith("    server ") and " backup" not in line]
    pairs = [server.split(":") for server in servers]
    return [(machine.address if host == "127.0.0.1" else host, int(port)) for host, port in pairs]


def metrics(machine: Machine) -> dict[str, float]:
    """What its own port says: name → sum over all labels, 0 for what was not counted yet."""
    page = httpx.get(machine.url(METRICS), timeout=60).raise_for_status().text
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found[sample.name] += sample.value
    return found

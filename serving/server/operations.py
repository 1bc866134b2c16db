"""What is done to the running application: its models are exchanged, and it is drained before it ends."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
from ray import serve

from serving.server.application import application
from serving.server.model_table import ModelTable
from serving.server.processes import RAYS_CENTRE, runs_below
from serving.server.settings import Serve

APPLICATION = "dqbart"
SERVE_NAMESPACE = "serve"
PROXY_ACTOR = "SERVE_PROXY_ACTOR"

POLL_SECONDS = 0.25
IDLE_POLLS = 2
"""Times in a row that no request is found before the server ends: what was answered last is then with its client, and who
watches the health knows."""

DRAIN_SECONDS = 5.0
"""How long a replica may take to say how many requests it has."""

EXCHANGE_SECONDS = 600.0
"""How long opening models may take."""

_LOG = logging.getLogger(__name__)


class Operations:
    """The application as it runs."""

    def __init__(self, settings: Serve, metrics_folder: str) -> None:
        self._settings = settings
        self._metrics_folder = metrics_folder
        self.table: ModelTable | None = None

    def deploy(self, table: ModelTable) -> None:
        """Start it, and return when every replica answers. Raises SystemExit when one cannot start."""
        try:
            self._run(table)
        except RuntimeError as error:
            raise SystemExit(f"the application did not start: {error}") from error
        self.table = table

    def exchange(self, table: ModelTable) -> None:
        """Have every replica serve the table instead of the one before. Raises RuntimeError, and that one is served on."""
        assert self.table is not None
        try:
            self._run(table)
            wanted = table.model_dump(mode="json")
            while True:
                answers = self._every("exchanged", EXCHANGE_SECONDS)
                if faults := {fault for given, fault in answers if fault and given == wanted}:
                    raise RuntimeError("; ".join(sorted(faults)))
                if all(given == wanted for given, _ in answers):
                    break
                time.sleep(POLL_SECONDS)
        except Exception as error:
            self._run(self.table)
            raise RuntimeError(f"the models could not be exchanged: {error}") from error
        self.table = table

    def drain(self, grace: float) -> int:
        """Let in no more requests, and wait until those inside are answered; how many are not after `grace` seconds."""
        deadline = time.monotonic() + grace
        idle = inside = 0
        while idle < IDLE_POLLS:
            if not runs_below(RAYS_CENTRE):
                _LOG.warning("Ray has ended before its server: no request is waited for")
                return 0
            try:
                # Told each time: a replica may have been replaced.
                inside = sum(self._every("drain", DRAIN_SECONDS))
            except Exception:
                _LOG.warning("a replica could not be asked for its requests", exc_info=True)
                inside = 1
            idle = idle + 1 if inside == 0 else 0
            if inside and time.monotonic() > deadline:
                return inside
            time.sleep(POLL_SECONDS)
        return 0

    def close_ports(self) -> None:
        """End the proxies, before what they would hand requests to."""
        if not runs_below(RAYS_CENTRE):
            return
        for named in ray.util.list_named_actors(all_namespaces=True):
            if named["namespace"] == SERVE_NAMESPACE and named["name"].startswith(PROXY_ACTOR):
                ray.kill(ray.get_actor(named["name"], namespace=SERVE_NAMESPACE), no_restart=True)

    def _run(self, table: ModelTable) -> None:
        self._handle = serve.run(
            application(self._settings, table, self._metrics_folder), name=APPLICATION, route_prefix="/"
        )

    def _every(self, method: str, seconds: float) -> list[Any]:
        answers: list[Any] = self._handle.broadcast(method).results(timeout_s=seconds)
        return answers

"""Prometheus metrics of a run over HTTP, from its first part to its last: `GET http://HOST:PORT/metrics`.

They are of the process that the command is, which hears of every part; counters are of this start of the run. Rates are
Prometheus' own business: `rate(dqbart_batch_generated_tokens_total[5m])`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from pipelines.batch.errors import BatchError
from pipelines.batch.worker import Done


class Metrics:
    """Serves what it was told."""

    def __init__(self, port: int, rows: int) -> None:
        """`rows` are all rows of the input. Listens on all addresses; port 0 takes a free one. Raises BatchError."""
        registry = CollectorRegistry()

        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"dqbart_batch_{name}", meaning, registry=registry)

        self._done = counter("rows", "Rows done since this start, bad ones too")
        self._bad = counter("bad_rows", "Rows that could not be answered, since this start")
        self._source = counter("source_tokens", "Tokens that the model read, since this start")
        self._generated = counter("generated_tokens", "Tokens of the best outputs, since this start")
        self._seconds = counter("cpu_seconds", "Processor time of the actors for parts that are done, since this start")
        self._left = Gauge("dqbart_batch_rows_left", "Rows that are still to be done", registry=registry)
        self._actors = Gauge("dqbart_batch_actors", "Actors that the parts are handed out to", registry=registry)
        Gauge("dqbart_batch_input_rows", "Rows of the input", registry=registry).set(rows)
        try:
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise BatchError(f"metrics_port = {port}: {error.strerror or error}") from error

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def begin(self, rows_left: int, actors: int) -> None:
        """A pass begins."""
        self._left.set(rows_left)
        self._actors.set(actors)

    def count(self, done: Done) -> None:
        """A part is done."""
        self._done.inc(done.rows)
        self._bad.inc(done.bad_rows)
        self._source.inc(done.source_tokens)
        self._generated.inc(done.generated_tokens)
        self._seconds.inc(done.cpu_seconds)
        self._left.dec(done.rows)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

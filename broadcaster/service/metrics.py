"""What Prometheus may ask of the running service, on this machine only.

The answers come from what the service last published about itself and from summaries in the database, read in the server's own
thread: a scrape never waits for the sending, nor the sending for a scrape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Final, NamedTuple
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broadcaster.errors import BroadcasterError
from broadcaster.store.engine import Store
from broadcaster.store.gauges import Gauges, gauges

HOST: Final = "127.0.0.1"

log = structlog.get_logger("metrics")


class BindReading(NamedTuple):
    """One bind at the last beat; `sent` parts since the service started, `unacknowledged` receipts not yet durable."""

    carrier: str
    bind: int
    bound: bool
    window: int
    outstanding: int
    sent: int
    rate_tps: float


class Reading(NamedTuple):
    """The service at the last beat; `limits_tps` by carrier has no entry where there is no limit."""

    binds: Sequence[BindReading] = ()
    limits_tps: Sequence[tuple[str, int]] = ()
    backlog: int = 0
    store_s: float = 0.0
    """How long the last beat took to become durable: queue, transaction and fsync."""
    store_failures: int = 0
    drift_s: float = 0.0
    alarms: int = 0


class Metrics(Collector):
    """Answer scrapes; `reading` is replaced as a whole at each beat."""

    def __init__(self, store: Store) -> None:
        self.reading = Reading()
        self._store = store
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._served: tuple[WSGIServer, Thread] | None = None

    def serve(self, port: int) -> int | None:
        """Listen on the loopback interface and return the port; None, and a line in the log, when that is not possible."""
        try:
            self._served = start_http_server(port, addr=HOST, registry=self._registry)
        except OSError as error:
            log.warning("metrics-not-served", reason=error.strerror or type(error).__name__)
            return None
        return int(self._served[0].server_port)

    def close(self) -> None:
        """Listen no more."""
        if self._served is None:
            return
        server, thread = self._served
        server.shutdown()
        server.server_close()
        thread.join()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric (called by the server for each scrape)."""
        reading = self.reading
        yield from _of_service(reading)
        yield from _of_binds(reading.binds)
        try:
            with self._store.read() as connection:
                found = gauges(connection)
        except BroadcasterError as error:
            log.warning("metrics-incomplete", error=type(error).__name__)
            return
        yield from _of_store(found)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"broadcaster_{name}", about, value=value)


def _of_service(reading: Reading) -> Iterator[Metric]:
    yield _gauge("backlog_messages", "Messages under open leases whose outcomes are not durable yet.", reading.backlog)
    yield _gauge("store_commit_seconds", "How long the last beat took to become durable.", reading.store_s)
    yield CounterMetricFamily("broadcaster_store_failures", "Beats that could not be stored.", value=reading.store_failures)
    yield _gauge("clock_drift_seconds", "Wall clock against the running clock since the start.", reading.drift_s)
    yield CounterMetricFamily("broadcaster_alarms", "Alarms raised.", value=reading.alarms)
    limits = GaugeMetricFamily("broadcaster_limit_parts_per_second", "The rate in force; absent without a limit.", labels=["carrier"])
    for carrier, tps in reading.limits_tps:
        limits.add_metric([carrier], tps)
    yield limits


def _of_binds(binds: Sequence[BindReading]) -> Iterator[Metric]:
    labels = ["carrier", "bind"]
    bound = GaugeMetricFamily("broadcaster_link_bound", "1 while the bind is up.", labels=labels)
    window = GaugeMetricFamily("broadcaster_window_parts", "How many parts may wait for an answer.", labels=labels)
    used = GaugeMetricFamily("broadcaster_window_used_parts", "How many parts wait for an answer.", labels=labels)
    rate = GaugeMetricFamily("broadcaster_parts_per_second", "Parts written in the last second.", labels=labels)
    sent = CounterMetricFamily("broadcaster_parts_sent", "Parts written since the start.", labels=labels)
    for bind in binds:
        names = [bind.carrier, str(bind.bind)]
        bound.add_metric(names, float(bind.bound))
        window.add_metric(names, bind.window)
        used.add_metric(names, bind.outstanding)
        rate.add_metric(names, bind.rate_tps)
        sent.add_metric(names, bind.sent)
    yield from (bound, window, used, rate, sent)


def _of_store(found: Gauges) -> Iterator[Metric]:
    messages = GaugeMetricFamily(
        "broadcaster_messages", "Messages of campaigns that have not ended, by state.", labels=["carrier", "state"]
    )
    for (carrier, state), count in found.messages.items():
        messages.add_metric([carrier, state.name.lower()], count)
    yield messages
    lag = GaugeMetricFamily("broadcaster_receipt_lag_seconds", "From answer to receipt, mean of the newest.", labels=["carrier"])
    for carrier, lag_s in found.receipt_lag_s.items():
        lag.add_metric([carrier], lag_s)
    yield lag
    paused = GaugeMetricFamily("broadcaster_account_paused", "1 while a person has paused the account.", labels=["carrier"])
    for carrier, is_paused in found.paused.items():
        paused.add_metric([carrier], float(is_paused))
    yield paused
    faults = CounterMetricFamily(
        "broadcaster_receipt_faults", "Receipts taken though something was wrong with them.", labels=["carrier", "fault"]
    )
    for carrier, counts in found.receipt_faults.items():
        for fault, receipts in counts.items():
            faults.add_metric([carrier, fault], receipts)
    yield faults
    yield _gauge("receipts_unmatched", "Receipts for which no part is known.", found.unmatched)
    yield _gauge("fold_lag_receipts", "Receipts stored and not yet in the totals.", found.unfolded_receipts)
    yield _gauge("fold_lag_leases", "Leases whose outcomes are not yet in the totals.", found.unfolded_leases)

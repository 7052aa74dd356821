"""Prometheus gets the service's own figures and the database's, from this machine only, and a failing database leaves the rest."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert
from structlog.testing import capture_logs

from broadcaster.model import CampaignState, CarrierCode, State
from broadcaster.service.metrics import BindReading, Metrics, Reading
from broadcaster.store.campaigns import change_campaign, insert_campaign, insert_lane
from broadcaster.store.control import AccountOrder, put_account_order
from broadcaster.store.engine import Store
from broadcaster.store.gauges import uncertain_now
from broadcaster.store.receipt_faults import ID_CONFLICT, UNPARSED, note_faults
from broadcaster.store.schema import installation, lease, receipt, submission, tally

LABELS = ("carrier", "bind", "state", "fault")
READING = Reading(
    binds=[
        BindReading("viettel", 1, bound=True, window=50, outstanding=7, sent=1200, rate_tps=98.5),
        BindReading("viettel", 2, bound=False, window=50, outstanding=0, sent=3, rate_tps=0.0),
    ],
    limits_tps=[("viettel", 100)],
    backlog=31,
    store_s=0.004,
    store_failures=2,
    drift_s=-0.5,
    alarms=4,
)


@pytest.fixture
def metrics(installed_store: Store) -> Iterator[Metrics]:
    metrics = Metrics(installed_store)
    yield metrics
    metrics.close()


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    port = metrics.serve(0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {
        (sample.name.removeprefix("broadcaster_"), *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_the_service_published_is_answered(metrics: Metrics) -> None:
    metrics.reading = READING
    found = scraped(metrics)
    assert {
        ("link_bound", "viettel", "1"): 1.0,
        ("link_bound", "viettel", "2"): 0.0,
        ("window_parts", "viettel", "1"): 50.0,
        ("window_used_parts", "viettel", "1"): 7.0,
        ("parts_sent_total", "viettel", "2"): 3.0,
        ("parts_per_second", "viettel", "1"): 98.5,
        ("limit_parts_per_second", "viettel"): 100.0,
        ("backlog_messages",): 31.0,
        ("store_commit_seconds",): 0.004,
        ("store_failures_total",): 2.0,
        ("clock_drift_seconds",): -0.5,
        ("alarms_total",): 4.0,
    }.items() <= found.items()


def test_f06_f07_what_was_wrong_with_receipts_is_counted(metrics: Metrics, installed_store: Store) -> None:
    for _ in range(2):
        with installed_store.write() as connection:
            note_faults(connection, {("viettel", ID_CONFLICT): 3, ("mobifone", UNPARSED): 1})
    found = {key: value for key, value in scraped(metrics).items() if key[0] == "receipt_faults_total"}
    assert found == {("receipt_faults_total", "viettel", ID_CONFLICT): 6.0, ("receipt_faults_total", "mobifone", UNPARSED): 2.0}


def open_lane(store: Store, name: str, state: CampaignState, counts: dict[State, int]) -> int:
    values = {"content_json": "{}", "digest": "", "recipients": 1, "submitted_by": "", "submitted_ms": 0, "roster_ids": []}
    with store.write() as connection:
        campaign_id = insert_campaign(connection, name=name, **values)
        change_campaign(connection, campaign_id, state)
        lane_id = insert_lane(connection, campaign_id, CarrierCode("viettel"), "", 1)
        for at, (kept, messages) in enumerate(counts.items()):
            row = {"lane_id": lane_id, "area_code": f"2100{at}", "state": int(kept), "exclusion": 0, "messages": messages}
            connection.execute(insert(tally).values(row))
    return lane_id


def test_what_the_database_says_is_answered(metrics: Metrics, installed_store: Store) -> None:
    lane_id = open_lane(installed_store, "mot", CampaignState.RUNNING, {State.READY: 5, State.UNCERTAIN: 2, State.DELIVERED: 1})
    open_lane(installed_store, "hai", CampaignState.PAUSED, {State.UNCERTAIN: 1})
    open_lane(installed_store, "ba", CampaignState.FINISHED, {State.UNCERTAIN: 100})
    message_id = (lane_id << 32) + 1
    with installed_store.write() as connection:
        put_account_order(connection, AccountOrder("viettel", True, None, "", "", 0))
        part = {"message_id": message_id, "part": 1, "attempt": 1}
        answered = {"lease_id": 1, "carrier": "viettel", "state": 50, "answered_ms": 1_000, "receipt_ms": 3_500}
        connection.execute(insert(submission).values(part | answered))
        ids = {"first_id": message_id, "last_id": message_id}
        connection.execute(insert(lease).values(lane_id=lane_id, epoch=1, opened_ms=0, closed_ms=1, folded=True, **ids))
        came = {"carrier": "viettel", "smsc_id": "a", "stat": "DELIVRD"}
        connection.execute(insert(receipt).values(came | {"received_ms": 3_500, "matched": True}))
        connection.execute(insert(receipt).values(came | {"received_ms": 9_000, "matched": False}))
        connection.execute(installation.update().values(receipts_folded=1))
    found = scraped(metrics)
    assert {
        ("messages", "viettel", "ready"): 5.0,
        ("messages", "viettel", "uncertain"): 3.0,
        ("messages", "viettel", "delivered"): 1.0,
        ("account_paused", "viettel"): 1.0,
        ("receipt_lag_seconds", "viettel"): 2.5,
        ("receipts_unmatched",): 1.0,
        ("fold_lag_receipts",): 1.0,
        ("fold_lag_leases",): 0.0,
    }.items() <= found.items()
    with installed_store.read() as connection:
        assert uncertain_now(connection) == 3


def test_a_database_that_fails_leaves_the_services_own_figures(metrics: Metrics, installed_store: Store) -> None:
    metrics.reading = READING
    with installed_store.write() as connection:
        connection.exec_driver_sql("DROP TABLE tally")
    found = scraped(metrics)
    assert found["backlog_messages",] == 31.0
    assert ("receipts_unmatched",) not in found


def test_a_port_that_is_taken_is_told_and_nothing_else(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as lines:
        assert metrics.serve(taken.getsockname()[1]) is None
    assert [line["event"] for line in lines] == ["metrics-not-served"]


def test_only_this_machine_is_answered(metrics: Metrics) -> None:
    assert metrics.serve(0)
    assert metrics._served is not None
    assert metrics._served[0].server_address[0] == "127.0.0.1"

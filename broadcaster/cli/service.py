"""`broadcaster service`: the process that sends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from broadcaster.rules.terms import Quota
    from broadcaster.service.installation import Installation
    from broadcaster.store.campaigns import Campaign
    from broadcaster.store.links import LinkRow

commands = Group("service", help=say("Dịch vụ gửi tin và nhận biên nhận.", "The service that sends and takes receipts."))


@commands.command(
    "run",
    help=say(
        "Chạy dịch vụ: mở kết nối đến các nhà mạng, gửi chiến dịch đến giờ, nhận biên nhận và tin từ chối. Dừng êm bằng Ctrl-C hoặc "
        "SIGTERM. Mỗi cơ sở dữ liệu chỉ một dịch vụ (mã thoát 11).",
        "Run the service: bind to the carriers, send campaigns when due, take receipts and refusals. Stop it cleanly with Ctrl-C or "
        "SIGTERM. One service per database (exit code 11).",
    ),
)
@click.option(
    "--until-idle",
    is_flag=True,
    help=say("Tự dừng khi không còn chiến dịch nào đang chờ hoặc đang gửi.", "Stop by itself once no campaign is due or running."),
)
def run(until_idle: bool) -> None:
    from broadcaster.service.app import run as run_service

    run_service(opening.installation("service", service=True), until_idle=until_idle)


@commands.command(
    "status",
    help=say(
        "Cho biết dịch vụ có đang chạy không, kết nối nào đang mở, chiến dịch nào đang chờ.",
        "Tell whether the service runs, which links are up, which campaigns wait.",
    ),
)
def status() -> None:
    from broadcaster.flow.status import fresh, service_alive
    from broadcaster.rules.lifecycle import ENDED
    from broadcaster.store.campaigns import campaigns
    from broadcaster.store.control import account_orders, standing_stop
    from broadcaster.store.links import binds, links
    from broadcaster.store.receipt_faults import faults_by_carrier

    here, now = opening.installation(), opening.now()
    store = here.store
    with store.read() as connection:
        running = service_alive(store, links(connection), now)
        found = [(item, running and fresh(item, now)) for item in binds(connection)]
        stop, accounts = standing_stop(connection), account_orders(connection)
        active = [item for item in campaigns(connection) if item.state not in ENDED]
        terms = _terms(connection, here, now)
        faults = faults_by_carrier(connection)
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        Column("Bind", right=True),
        Column(say("Máy chủ", "Host")),
        Column(say("Kết nối", "Link")),
        Column(say("Từ lúc", "Since")),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Lý do", "Reason")),
    ]
    rows = [
        [
            item.carrier,
            str(item.bind),
            item.endpoint,
            words.link_name(item.state) if current else _stale(item),
            output.moment_of_ms(item.since_ms) if current else None,
            output.decimal(item.rate_tps) if current else None,
            "; ".join(filter(None, [item.reason, words.withheld_words(*terms.get(item.carrier, (None, None)))])) if current else "",
        ]
        for item, current in found
    ]

    def show() -> None:
        output.line(words.service_words(running))
        if stop:
            output.line(words.stop_words(stop))
        output.table(columns, rows, empty=Said("Chưa từng kết nối nhà mạng nào.", "No carrier was ever connected."))
        for code, order in sorted(accounts.items()):
            if order.paused or order.tps is not None:
                output.line(f"{code}: {words.account_words(order)}")
        for code, counts in faults.items():
            output.line(
                say(
                    f"{code}: biên nhận {words.receipt_fault_words(counts)}", f"{code}: receipts, {words.receipt_fault_words(counts)}"
                )
            )
        for item in active:
            output.line(f"{item.name}: {_state(item)}")

    shown = [
        item._asdict()
        | {"since": output.moment_of_ms(item.since_ms), "seen": output.moment_of_ms(item.seen_ms), "stale": not current}
        | dict(zip(("closed_until", "quota_used"), terms.get(item.carrier, (None, None)), strict=True))
        for item, current in found
    ]
    document = {
        "running": running,
        "stopped": stop._asdict() | {"since": output.moment_of_ms(stop.since_ms)} if stop else None,
        "accounts": [order._asdict() | {"changed": output.moment_of_ms(order.changed_ms)} for order in accounts.values()],
        "links": shown,
        "receipt_faults": faults,
        "campaigns": [{"name": item.name, "state": item.state} for item in active],
    }
    output.answer(document, show)


def _terms(connection: Connection, here: Installation, now: dt.datetime) -> Mapping[str, tuple[dt.datetime | None, Quota | None]]:
    """Return until when each carrier is closed now, and which of its quotas is used up."""
    from broadcaster.errors import BroadcasterError
    from broadcaster.rules.terms import closed_until, quota_used
    from broadcaster.store.usage import used

    try:
        cards = here.cards()
    except BroadcasterError:  # a card that cannot be read must not hide how the links are
        return {}
    spent = {code: used(connection, code, now) for code in cards}
    return {
        code: (closed_until(card, now), quota_used(card, spent[code].today_parts, spent[code].month_parts))
        for code, card in cards.items()
    }


def _stale(item: LinkRow) -> str:
    """Say of a link what was last known, and that nobody knows of now."""
    state, seen = words.link_name(item.state), output.moment(output.moment_of_ms(item.seen_ms))
    return say(f"không rõ (lúc {seen}: {state})", f"unknown ({state} at {seen})")


def _state(found: Campaign) -> str:
    from broadcaster.rules.lifecycle import STATE_NAMES

    return str(STATE_NAMES[found.state])

"""`broadcaster service`: the process that sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.store.campaigns import Campaign

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
    from broadcaster.rules.lifecycle import possible
    from broadcaster.store.campaigns import campaigns
    from broadcaster.store.engine import service_running
    from broadcaster.store.links import links

    store = opening.installation().store
    running = store.path is not None and service_running(store.path)
    with store.read() as connection:
        found = sorted(links(connection).values())
        active = [item for item in campaigns(connection) if possible(item.state)]
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Kết nối", "Link")),
        Column(say("Từ lúc", "Since")),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Lý do", "Reason")),
    ]
    rows = [
        [item.carrier, item.state, output.moment_of_ms(item.since_ms), output.decimal(item.rate_tps), item.reason] for item in found
    ]

    def show() -> None:
        output.line(
            say("Dịch vụ đang chạy.", "The service is running.")
            if running
            else say("Dịch vụ không chạy.", "The service is not running.")
        )
        output.table(columns, rows, empty=Said("Chưa từng kết nối nhà mạng nào.", "No carrier was ever connected."))
        for item in active:
            output.line(f"{item.name}: {_state(item)}")

    shown = [
        item._asdict() | {"since": output.moment_of_ms(item.since_ms), "seen": output.moment_of_ms(item.seen_ms)} for item in found
    ]
    document = {"running": running, "links": shown, "campaigns": [{"name": item.name, "state": item.state} for item in active]}
    output.answer(document, show)


def _state(found: Campaign) -> str:
    from broadcaster.rules.lifecycle import STATE_NAMES

    return str(STATE_NAMES[found.state])

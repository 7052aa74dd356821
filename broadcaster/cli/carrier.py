"""`broadcaster carrier`: the carriers' cards, and carriers to rehearse with."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import carrier_check, carrier_show, opening, output
from broadcaster.cli.commands import Group, existing_file, reason_option
from broadcaster.cli.output import Column
from broadcaster.lang import say

if TYPE_CHECKING:
    from broadcaster.link.simulator import SimulatorTotals
    from broadcaster.link.temperament import Temperament
    from broadcaster.model import CarrierCard
    from broadcaster.service.installation import Installation
    from broadcaster.store.control import AccountOrder

commands = Group(
    "carrier",
    help=say("Thẻ nhà mạng (tài khoản SMPP) và nhà mạng giả lập.", "The carriers' cards (SMPP accounts) and simulated carriers."),
)


MOST_RATE_DIGITS: Final = 6


class Rate(click.ParamType[int]):
    """Parts per second; ``contract`` becomes 0."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if text == "contract":
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= MOST_RATE_DIGITS and int(text)):
            self.fail(say("cần một số nguyên từ 1 trở lên, hoặc contract", "a whole number from 1, or contract"), param, ctx)
        return int(text)


@commands.command(
    "list",
    help=say(
        "Liệt kê thẻ nhà mạng: địa chỉ, tốc độ hợp đồng, cửa sổ, số phần tối đa, biên nhận chứng minh điều gì.",
        "List the cards: address, contract rate, window, greatest number of parts, what a receipt proves.",
    ),
)
def list_cards() -> None:
    cards = list(opening.cards_of(opening.settings()).values())
    columns = [
        Column(say("Mã", "Code")),
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Môi trường", "Environment")),
        Column(say("Địa chỉ", "Address")),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Cửa sổ", "Window"), right=True),
        Column(say("Số phần", "Parts"), right=True),
        Column(say("Biên nhận", "Receipt")),
        Column(say("Giả định", "Assumed"), right=True),
    ]
    unlimited = say("không giới hạn", "unlimited")
    rows = [
        [
            card.code,
            card.name,
            card.environment,
            card.endpoint,
            unlimited if card.tps is None else card.tps,
            card.window,
            card.max_parts,
            card.receipt_means,
            len(card.assumed),
        ]
        for card in cards
    ]
    output.answer([_document(card) for card in cards], lambda: output.table(columns, rows))


commands.add_command(carrier_show.show)


def _document(card: CarrierCard) -> dict[str, object]:
    return {
        "code": card.code,
        "name": card.name,
        "environment": card.environment,
        "mnc": card.mnc,
        "host": card.endpoint.host,
        "port": card.endpoint.port,
        "tls": card.tls,
        "system_id": card.system_id,
        "tps": card.tps,
        "window": card.window,
        "max_parts": card.max_parts,
        "allow_unicode": card.allow_unicode,
        "receipt_means": card.receipt_means,
        "assumed": list(card.assumed),
    }


_code = click.argument(
    "code",
    metavar=say("NHÀ_MẠNG", "CARRIER"),
    help=say("Mã nhà mạng, xem bằng `carrier list`.", "The carrier's code, as `carrier list` shows it."),
)
_reason = reason_option()


@commands.command(
    "pause",
    help=say(
        "Tạm ngừng gửi qua một nhà mạng, đối với mọi chiến dịch; có hiệu lực trong vòng một giây và cả sau khi khởi động lại.",
        "Send nothing more through one carrier, whatever the campaign; in force within a second, and after a restart as well.",
    ),
)
@_code
@_reason
def pause(code: str, reason: str) -> None:
    from broadcaster.flow import control

    here, card = _account(code)
    _tell_order(card, control.pause_carrier(here.store, here.auditor, card, reason=reason, now=opening.now()))


@commands.command(
    "resume",
    help=say("Gửi tiếp qua một nhà mạng đang tạm ngừng.", "Go on through a paused carrier."),
)
@_code
@_reason
def resume(code: str, reason: str) -> None:
    from broadcaster.flow import control

    here, card = _account(code)
    _tell_order(card, control.resume_carrier(here.store, here.auditor, card, reason=reason, now=opening.now()))


@commands.command(
    "rate",
    help=say(
        "Giới hạn tốc độ gửi qua một nhà mạng, tính chung mọi chiến dịch; chỉ được thấp hơn hoặc bằng tốc độ trong thẻ.",
        "Limit the rate through one carrier over all campaigns; never above the card's.",
    ),
)
@_code
@click.argument(
    "tps",
    type=Rate(),
    metavar=say("SỐ|contract", "N|contract"),
    help=say(
        "Số phần tin mỗi giây nhiều nhất; `contract` trở lại tốc độ hợp đồng.",
        "The most parts a second; `contract` goes back to the contract's rate.",
    ),
)
@_reason
def rate(code: str, tps: int, reason: str) -> None:
    from broadcaster.flow import control

    here, card = _account(code)
    _tell_order(card, control.set_rate(here.store, here.auditor, card, tps or None, reason=reason, now=opening.now()))


def _account(code: str) -> tuple[Installation, CarrierCard]:
    here = opening.installation()
    return here, opening.find_card(here.cards(), code)


def _tell_order(card: CarrierCard, order: AccountOrder) -> None:
    document = {
        "carrier": card.code,
        "paused": order.paused,
        "tps": order.tps,
        "contract_tps": card.tps,
        "reason": order.reason,
        "changed_by": order.changed_by,
        "changed_at": output.moment_of_ms(order.changed_ms),
    }
    output.answer(document, lambda: output.line(f"{card.code}: {words.account_words(order)}"))


@commands.command(
    "simulate",
    help=say(
        "Làm một nhà mạng giả lập: máy chủ SMPP thật trên máy này, cư xử theo thẻ và kịch bản, ghi sổ mọi tin đã nhận. Dòng đầu của "
        "stdout là số cổng; dừng bằng Ctrl-C hoặc SIGTERM, khi đó in tổng kết dạng JSON.",
        "Be a simulated carrier: a real SMPP server on this machine that behaves as card and script say and keeps a ledger of all it "
        "got. The first line on stdout is the port; stop it with Ctrl-C or SIGTERM, then it prints its totals as JSON.",
    ),
)
@click.argument(
    "card",
    metavar=say("THẺ", "CARD"),
    help=say(
        "Tệp thẻ (*.toml), hoặc mã của thẻ trong thư mục thẻ của hệ thống.",
        "A card's file (*.toml), or the code of one in the installation's folder of cards.",
    ),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar=say("CỔNG", "PORT"),
    help=say(
        "Cổng TCP; 0 là cổng trống bất kỳ. Mặc định: cổng ghi trong thẻ.", "TCP port; 0 takes any free one. Default: the card's."
    ),
)
@click.option(
    "--faults",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Kịch bản TOML: độ trễ, từ chối, biên nhận thiếu hoặc lặp, người dân nhắn từ chối, ngắt kết nối…",
        "TOML script: delays, refusals, missing or repeated receipts, subscribers who text back, disconnects…",
    ),
)
@click.option(
    "--ledger",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Sổ của nhà mạng (JSON từng dòng, quyền 0600), chỉ ghi nối thêm. Chứa số máy: chỉ dùng khi diễn tập.",
        "The carrier's ledger (JSON lines, mode 0600), appended to. It holds numbers: for rehearsals only.",
    ),
)
@click.option(
    "--tps",
    type=click.IntRange(1, 1_000_000),
    metavar=say("SỐ", "N"),
    help=say(
        "Báo quá tải (RTHROTTLED) khi quá chừng này phần tin mỗi giây; thay cho giá trị trong kịch bản.",
        "Answer RTHROTTLED above this many parts a second; overrides the script.",
    ),
)
def simulate(card: str, port: int | None, faults: Path | None, ledger: Path, tps: int | None) -> None:
    import asyncio

    from broadcaster.link.temperament import Temperament, read_temperament
    from broadcaster.service.memory import spare_collector

    spare_collector()
    temperament = read_temperament(faults) if faults else Temperament()
    if tps is not None:
        temperament = replace(temperament, throttle_tps=tps, throttle_every_s=0.0, throttle_for_s=0.0)
    found = _card(card)
    totals = asyncio.run(_serve(found, temperament, ledger, found.endpoint.port if port is None else port))
    output.line(json.dumps(asdict(totals)))


def _card(text: str) -> CarrierCard:
    from broadcaster.files.carriers import read_card

    if text.endswith(".toml"):
        return read_card(Path(text), os.environ)
    return opening.find_card(opening.cards_of(opening.settings()), text)


async def _serve(card: CarrierCard, temperament: Temperament, ledger: Path, port: int) -> SimulatorTotals:
    import asyncio

    from broadcaster.link.simulator import serve

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # The reader of the first line is often a pipe: click.echo flushes it at once.
    return await serve(card, temperament, ledger, port=port, ready=lambda bound: output.line(str(bound)), stop=stop)


commands.add_command(carrier_check.check)
commands.add_command(carrier_check.approve_check)

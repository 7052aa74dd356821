"""The campaign, step by step: a sentence, then the commands of that step."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from broadcaster.lang import Lang, Said
from broadcaster.link.ledger import read_ledger
from demo import place
from demo.commands import Commands, StepFailedError
from demo.generate import CALLERS_FILE, NETWORKS, REFUSED_FILE, Truth, generate
from demo.screen import Screen

CARRIERS: Final = tuple(str(network.code) for network in NETWORKS)
REPLY_NUMBER: Final = "0000"
"""Nobody's: none is hired for a rehearsal."""

_START_IN_S: Final = 5
_THROTTLED: Final = 0x58
"""ESME_RTHROTTLED."""
_LOOK_S: Final = 0.1
_FRESH_MIN: Final = 10
"""How long before the demo the carriers are supposed to have taken their figures."""

_LEGAL_BASIS: Final = "01/DT-SKHCN"
_AUTHOR: Final = "can-bo-soan"
_OFFICES: Final = (
    (_AUTHOR, "Cán bộ soạn tin", ("author", "operator")),
    ("lanh-dao-so", "Lãnh đạo Sở", ("approver",)),
    ("pho-giam-doc", "Phó Giám đốc Sở", ("approver",)),
    ("truc-ban", "Lãnh đạo trực", ("duty-officer",)),
    ("cong-an-tinh", "Công an tỉnh", ("content-authority",)),
)
_FORMS: Final = ("html", "csv", "json")
_APPROVERS: Final = ("lanh-dao-so", "pho-giam-doc")
_DUTY_OFFICER: Final = "truc-ban"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of the demo."""

    state: Path
    subscribers: int
    rate: str | None
    """Parts per second of each carrier, or ``unlimited``; None lets the demo choose."""
    lang: Lang
    seed: int

    @property
    def installation(self) -> Path:
        return self.state / "quang-ngai"

    @property
    def logs(self) -> Path:
        return self.state / "logs"


@dataclass(slots=True)
class Demo:
    """What the steps share."""

    options: Options
    screen: Screen
    commands: Commands
    ports: dict[str, int] = field(default_factory=dict)
    requirement: dict[str, Any] = field(default_factory=dict)
    recipients: int = 0
    _truth: Truth | None = None

    @property
    def home(self) -> Path:
        """The installation's folder, in which the commands run."""
        return self.options.installation

    @property
    def truth(self) -> Truth:
        """What is true of the made-up province; there once it has been made."""
        assert self._truth is not None  # noqa: S101  the steps' order
        return self._truth

    def made_up(self, truth: Truth) -> None:
        """Keep what is true of the province just made."""
        self._truth = truth


def _install(demo: Demo) -> None:
    demo.commands.run("init", str(demo.home), "--environment", "rehearsal", inside=False)
    demo.options.logs.mkdir()
    with (demo.home / "broadcaster.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'reply_number = "{REPLY_NUMBER}"\n')
    card = f'number = "{REPLY_NUMBER}"\nenvironment = "rehearsal"\ncost_vnd = 0\nchannel = "file"\n'
    (demo.home / "reply.toml").write_text(card, encoding="utf-8")
    demo.screen.say(
        Said(
            f"Thêm vào broadcaster.toml đầu số nhận từ chối {REPLY_NUMBER} (giả lập). Từ đây mọi lệnh chạy trong thư mục này:",
            f"The number for refusals {REPLY_NUMBER} (made up) goes into broadcaster.toml. All commands now run in this folder:",
        )
    )
    demo.screen.command([str(demo.home)], program="cd")


def _make_up_province(demo: Demo) -> None:
    folder = demo.home / "data"
    folder.mkdir()
    observed_at = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=_FRESH_MIN)
    demo.made_up(generate(folder, demo.options.subscribers, demo.options.seed, observed_at))
    truth = demo.truth
    rows = [
        (network.code, truth.cells[network.code]["rows"], truth.rosters[network.code]["rows"], truth.recipients[network.code])
        for network in NETWORKS
    ]
    heads = (
        Said("nhà mạng", "carrier"),
        Said("ô (cell)", "cells"),
        Said("dòng thuê bao", "roster rows"),
        Said("sẽ nhận tin", "to be warned"),
    )
    demo.screen.table(heads, rows)


def _write_cards(demo: Demo) -> None:
    demo.ports.update(zip(CARRIERS, place.free_ports(len(CARRIERS)), strict=True))
    rates = place.rates(demo.truth.recipients, demo.options.rate)
    place.write_cards(demo.home / "carriers", demo.ports, rates)
    heads = (
        Said("nhà mạng", "carrier"),
        Said("diễn tập (phần/s)", "rehearsal (parts/s)"),
        Said("thẻ thật (phần/s)", "real card (parts/s)"),
        Said("cổng giả lập", "simulated port"),
    )
    unlimited = Said("không hạn chế", "unlimited")
    rows = [(code, rates[code].demo_tps or unlimited, rates[code].card_tps, demo.ports[code]) for code in CARRIERS]
    demo.screen.table(heads, rows)
    demo.commands.run("config", "check")


def _start_carriers(demo: Demo) -> None:
    (demo.home / "ledgers").mkdir()
    for code in CARRIERS:
        script = f"carriers/simulated/{code}.toml"
        demo.commands.start(code, "carrier", "simulate", f"carriers/{code}.toml", "--faults", script, "--ledger", _ledger(code))
    for code in CARRIERS:
        demo.commands.wait_until(code, partial(place.listens, demo.ports[code]), _pause)


def _import_cells(demo: Demo) -> None:
    for code in CARRIERS:
        demo.commands.run("cell", "import", f"data/cells-{code}.csv")


def _import_rosters(demo: Demo) -> None:
    for code in CARRIERS:
        file = f"data/roster-{code}.csv"
        at = demo.truth.observed_at
        basis = ("--legal-basis", _LEGAL_BASIS, "--legal-date", at[:10])
        demo.commands.run("roster", "import", file, "--carrier", code, "--observed-at", at, *basis)
    demo.commands.run("roster", "list")


def _refuse(demo: Demo) -> None:
    demo.commands.run("optout", "add", "--file", f"data/{REFUSED_FILE}", "--evidence", "Diễn tập: phiếu từ chối giả lập")


def _add_people(demo: Demo) -> None:
    for name, title, roles in _OFFICES:
        asked = [word for role in roles for word in ("--role", role)]
        demo.commands.run("person", "add", name, "--title", title, *asked, "--new-key", _key(name))


def _check_text(demo: Demo) -> None:
    demo.commands.run("template", "lint", "T08")
    demo.commands.run("template", "preview", "T08", "--carrier", "viettel")


def _plan(demo: Demo) -> None:
    place.write_order(demo.home / _order_file(), demo.options.subscribers)
    demo.screen.say(
        Said(
            f"Đây là DIỄN TẬP nên khung giờ được ký trong {_order_file()} là cả ngày; gửi thật thì chỉ từ 07:00 đến 22:00.",
            f"This is a REHEARSAL, so the window signed in {_order_file()} is the whole day; a live one has 07:00-22:00.",
        )
    )
    demo.commands.run("campaign", "plan", _order_file())
    planned = json.loads(demo.commands.run("campaign", "plan", _order_file(), "--json", captured=True))
    demo.requirement, demo.recipients = planned["requirement"], planned["recipients"]
    expected = sum(demo.truth.recipients.values())
    if demo.recipients != expected:
        why = Said(f"tính ra {demo.recipients} người, đúng ra là {expected}", f"counts {demo.recipients} people, true are {expected}")
        raise StepFailedError("campaign plan", why, "")
    demo.screen.say(
        Said("Số người đúng bằng số đã biết khi sinh dữ liệu.", "The number of people is the one known from making up the data.")
    )


def _submit(demo: Demo) -> None:
    demo.commands.run("campaign", "submit", _order_file(), "--as", _AUTHOR)


def _approve(demo: Demo) -> None:
    signers = [*_APPROVERS[: demo.requirement["approvers"]], *([_DUTY_OFFICER] if demo.requirement["duty_officer"] else [])]
    for name in signers:
        demo.commands.run("campaign", "approve", place.ORDER, "--as", name, "--key", _key(name))


def _start_service(demo: Demo) -> None:
    demo.commands.start("service", "service", "run")


def _schedule(demo: Demo) -> None:
    expected = str(demo.recipients)
    demo.commands.run("campaign", "schedule", place.ORDER, "--in", str(_START_IN_S), "--yes", "--expect-recipients", expected)


def _refuse_in_the_middle(demo: Demo) -> None:
    look = ("campaign", "status", place.ORDER, "--json")
    while json.loads(demo.commands.run(*look, captured=True, shown=False))["state"] == "scheduled":
        _pause()
    demo.commands.run("optout", "add", "--file", f"data/{CALLERS_FILE}", "--evidence", "Diễn tập: gọi điện từ chối giữa chừng")


def _watch(demo: Demo) -> None:
    demo.commands.run("campaign", "status", place.ORDER, "--watch")


def _export(demo: Demo) -> None:
    for form in _FORMS:
        demo.commands.run("report", "export", place.ORDER, "--format", form, "--output", "reports")


def _count_replies(demo: Demo) -> None:
    replies: Counter[str] = Counter()
    throttled = refused = 0
    for code in CARRIERS:
        for row in read_ledger(demo.home / _ledger(code)):
            replies[code] += row.event == "mo"
            throttled += row.status == _THROTTLED
            refused += row.event == "submit" and row.status not in {0, _THROTTLED}
    counts = ", ".join(f"{code} {count}" for code, count in replies.items())
    demo.screen.say(
        Said(
            f"Sổ của các nhà mạng: tin từ chối thuê bao gửi về {replies.total()} ({counts}); lần báo quá tải {throttled}, "
            f"dịch vụ giảm tốc rồi gửi lại; số máy bị nhà mạng từ chối {refused}.",
            f"The carriers' ledgers: refusals texted back {replies.total()} ({counts}); times throttled {throttled}, whereupon the "
            f"service slowed down and sent again; numbers refused by the carrier {refused}.",
        )
    )
    demo.commands.run("optout", "list", "--limit", "5")


def _stop(demo: Demo) -> None:
    for name in ("service", *CARRIERS):
        demo.commands.stop(name)


def _verify(demo: Demo) -> None:
    ledgers = [word for code in CARRIERS for word in ("--ledger", f"{code}={_ledger(code)}")]
    demo.commands.run("campaign", "verify", place.ORDER, *ledgers)


STEPS: Final[tuple[tuple[Said, Callable[[Demo], None]], ...]] = (
    (
        Said(
            "Tạo một hệ thống diễn tập còn trống: cấu hình, khóa mã hóa số thuê bao, cơ sở dữ liệu.",
            "Make an empty rehearsal installation: settings, the key that enciphers numbers, the database.",
        ),
        _install,
    ),
    (
        Said(
            "Sinh dữ liệu giả lập của năm nhà mạng cho 96 xã, phường, đặc khu, cố ý lẫn số 11 chữ số cũ, số trùng, dòng hỏng.",
            "Make up five carriers' data for the 96 communes, with old 11-digit numbers, duplicates and broken rows on purpose.",
        ),
        _make_up_province,
    ),
    (
        Said(
            "Viết thẻ nhà mạng diễn tập từ thẻ thật: chỉ khác nơi kết nối, tốc độ, cách viết mã tin và thời gian chờ gửi lại.",
            "Write rehearsal cards from the real ones: only address, rate, spelling of ids and waits before a retry differ.",
        ),
        _write_cards,
    ),
    (
        Said(
            "Khởi động năm nhà mạng giả lập, mỗi nhà mạng một tiến trình và một tính nết, tự ghi sổ những gì đến tay mình.",
            "Start five simulated carriers, each a process with a temperament of its own and a ledger of what reaches it.",
        ),
        _start_carriers,
    ),
    (
        Said(
            "Nhập danh mục trạm BTS để biết mỗi ô phủ sóng thuộc xã nào.",
            "Import the inventories of base stations, to know the commune of every cell.",
        ),
        _import_cells,
    ),
    (
        Said(
            "Nhập danh sách thuê bao đang hoạt động; số máy được mã hóa ngay, dòng không dùng được bị loại kèm lý do.",
            "Import the active subscribers; numbers are enciphered at once, useless rows are dropped with their reason.",
        ),
        _import_rosters,
    ),
    (
        Said(
            "Ghi nhận những số đã từ chối từ trước, để không ai trong số họ bị làm phiền.",
            "Record the numbers that refused before, so that none of them is disturbed.",
        ),
        _refuse,
    ),
    (
        Said(
            "Ghi tên những người có trách nhiệm, mỗi người một khóa ký riêng: người soạn không được tự duyệt.",
            "Register the people in charge, each with a signing key: whoever writes a warning may not approve it.",
        ),
        _add_people,
    ),
    (
        Said(
            "Soát mẫu tin T08 (giả danh Công an, Viện kiểm sát, Tòa án) và xem nó chiếm mấy phần tin, có dấu và không dấu.",
            "Check template T08 (false police, prosecutors, courts) and see how many parts it takes, accented and not.",
        ),
        _check_text,
    ),
    (
        Said(
            "Lập kế hoạch: ai sẽ nhận, ai bị loại và vì sao, bao nhiêu phần tin, mấy giờ mỗi nhà mạng gửi xong.",
            "Plan: who gets the warning, who does not and why, how many parts, when each carrier will be done.",
        ),
        _plan,
    ),
    (
        Said("Trình chiến dịch: từ đây nội dung không sửa được nữa.", "Submit the campaign: from here its content cannot change."),
        _submit,
    ),
    (
        Said(
            "Thu đủ chữ ký mà quy mô này đòi hỏi, mỗi chữ ký bằng một khóa khác nhau.",
            "Collect the signatures that this size requires, each by another key.",
        ),
        _approve,
    ),
    (
        Said(
            "Khởi động dịch vụ gửi tin: nó giữ kết nối với năm nhà mạng và chờ đến giờ.",
            "Start the sending service: it keeps the links to the five carriers and waits for the hour.",
        ),
        _start_service,
    ),
    (
        Said(
            "Lên lịch bắt đầu sau vài giây; người vận hành phải gõ đúng số người sẽ nhận tin.",
            "Schedule the start in a few seconds; the operator must type the very number of recipients.",
        ),
        _schedule,
    ),
    (
        Said(
            "Đúng giờ, dịch vụ tự bắt đầu gửi; ngay lúc đó có người gọi điện từ chối: ai chưa được gửi thì không nhận nữa.",
            "On time the service starts by itself; some ring up at once to refuse: who has not been sent to gets nothing.",
        ),
        _refuse_in_the_middle,
    ),
    (
        Said(
            "Theo dõi từng nhà mạng: đã gửi, đã đến, hỏng, bị từ chối; ai nhắn tin từ chối giữa chừng thì có hiệu lực ngay.",
            "Watch every carrier: sent, delivered, failed, refused; meanwhile subscribers text back refusals, obeyed at once.",
        ),
        _watch,
    ),
    (
        Said(
            "Dừng dịch vụ, rồi dừng các nhà mạng giả lập, để sổ sách hai bên được khép lại.",
            "Stop the service, then the simulated carriers, so that both sides' books are closed.",
        ),
        _stop,
    ),
    (
        Said(
            "Xem sổ của các nhà mạng: ai nhắn tin từ chối giữa chừng, nhà mạng báo quá tải hay từ chối những gì.",
            "See in the carriers' ledgers who texted a refusal in the middle of it, and what the carriers throttled or refused.",
        ),
        _count_replies,
    ),
    (
        Said(
            "Xuất báo cáo kết quả: một tệp HTML tự chứa để đọc và in, CSV và JSON để tính tiếp.",
            "Export the delivery review: one self-contained HTML to read and print, CSV and JSON to reckon with.",
        ),
        _export,
    ),
    (
        Said(
            "Đối chiếu sổ của ta với sổ của năm nhà mạng, từng tin một: không ai bị sót, không ai nhận hai lần.",
            "Compare our records with the five carriers' ledgers, message by message: nobody lost, nobody twice.",
        ),
        _verify,
    ),
)


def farewell(demo: Demo) -> None:
    """End with what agrees, the files to open and the commands to try."""
    screen = demo.screen
    print()
    screen.say(Said("HAI BÊN KHỚP NHAU. Các tệp để mở:", "BOTH SIDES AGREE. Files to open:"))
    reports = [demo.home / "reports" / f"{place.ORDER}.{form}" for form in _FORMS]
    for path in (*reports, demo.home / _order_file(), demo.options.logs / "service.log"):
        screen.line(f"  {path}")
    screen.say(Said("Các lệnh để thử tiếp:", "Commands to try next:"))
    activate = Path(sys.executable).parent / "activate"
    if activate.exists():
        near = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
        screen.command([str(near)], program="source")
    screen.command([str(demo.home)], program="cd")
    for line in ("campaign status " + place.ORDER, "template list", "area list --former-district", "optout list", "--lang en --help"):
        screen.command(line.split())


def _order_file() -> str:
    return f"campaigns/{place.ORDER}.toml"


def _ledger(code: str) -> str:
    return f"ledgers/{code}.jsonl"


def _key(name: str) -> str:
    return f"keys/{name}.pem"


def _pause() -> None:
    time.sleep(_LOOK_S)

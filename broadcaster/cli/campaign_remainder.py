"""`broadcaster campaign remainder`: prepare the order for those whom a campaign did not reach."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, reference_argument
from broadcaster.cli.failures import unwritable
from broadcaster.cli.output import Column
from broadcaster.errors import BroadcasterError, InvalidFileError, RefusedError
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    import datetime as dt

    from broadcaster.flow.enlist import Audience
    from broadcaster.model import Order
    from broadcaster.service.installation import Installation

NAME_CHARS: Final = 50
"""Leaves room for the ending within the length of an order's name."""
MANY: Final = 10_000_000
_ENDING: Final = "-con-lai"
_ENDED_SO: Final = re.compile(rf"{_ENDING}(-\d+)?$")


@click.command(
    "remainder",
    cls=Command,
    help=say(
        "Soạn lệnh gửi tiếp cho những người mà một chiến dịch đã kết thúc chắc chắn chưa đến được: nhà mạng từ chối, hết hạn gửi, bị "
        "hủy, biên nhận báo không đến. Không gồm tin chưa rõ kết quả, tin nhà mạng đã nhận mà chưa có biên nhận, và người đã từ "
        "chối. Lệnh mới phải trình, ký và lên lịch như mọi lệnh.",
        "Write the order for those whom an ended campaign certainly did not reach: refused by the carrier, lapsed, cancelled, or "
        "undelivered by receipt. What is uncertain, what was accepted and has no receipt yet, and whoever refused stay out. The new "
        "order is submitted, signed and scheduled like any other.",
    ),
)
@reference_argument()
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Tệp lệnh sẽ ghi; tên tệp là tên chiến dịch mới. Mặc định: campaigns/<chiến dịch>-con-lai.toml.",
        "The order's file; its name is the new campaign's. Default: campaigns/<campaign>-con-lai.toml.",
    ),
)
@click.option("--dry-run", is_flag=True, help=say("Chỉ đếm, không ghi tệp.", "Count only; write no file."))
def remainder(reference: str, target: Path | None, dry_run: bool) -> None:
    from broadcaster.files.campaigns import order_text
    from broadcaster.flow import enlist
    from broadcaster.rules.order import remainder_order

    installation = opening.installation()
    first = _order_of(installation, reference)
    path = target or _free_path(installation, first.name)
    now = opening.now()
    _refuse_unreadable(installation, path, remainder_order(first, name=path.stem, max_recipients=MANY))
    with output.progress(say("Đếm thuê bao", "Counting the audience")) as bar:
        asked = remainder_order(first, name=path.stem, max_recipients=MANY)
        audience = enlist.count(installation.store, asked, now, bar)
    unsettled = _unsettled(installation, first.name)
    if not audience.recipients:
        nobody = Said(
            f"Không còn ai để gửi tiếp: «{first.name}» không có người nào chắc chắn chưa đến được.",
            f"Nobody is left: there is no one whom “{first.name}” certainly did not reach.",
        )
        told = [nobody, *_warnings(unsettled)]
        raise RefusedError(Said(" ".join(one.vi for one in told), " ".join(one.en for one in told)))
    made = remainder_order(first, name=path.stem, max_recipients=audience.recipients)
    if not dry_run:
        _write(path, order_text(made, _remarks(first.name, now)))
    document = _document(made, audience) | unsettled._asdict() | {"path": None if dry_run else str(path)}
    output.answer(document, lambda: _show(path, made, audience, unsettled, written=not dry_run))


def _refuse_unreadable(installation: Installation, path: Path, order: Order) -> None:
    """Raise `InvalidFileError` when the file, its name included, would not be one that `campaign plan` reads."""
    from broadcaster.files.campaigns import order_text, read_order

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        try:
            draft.write_text(order_text(order, []), encoding="utf-8")
            read_order(draft, installation.areas(), installation.cards().keys())
        except InvalidFileError as error:
            raise InvalidFileError([replace(problem, file=str(path)) for problem in error.problems]) from None
        except OSError as error:
            raise unwritable(path, error) from error


def _order_of(installation: Installation, reference: str) -> Order:
    """Return the stored order. Raises `NotFoundError`, and `RefusedError` when what is stored is no order any more."""
    from broadcaster.flow.judgement import readable_order
    from broadcaster.store.campaigns import find_campaign

    with installation.store.read() as connection:
        found = find_campaign(connection, reference)
    order = readable_order(found)
    if order is None:
        raise RefusedError(
            Said(f"Nội dung lưu trữ của «{found.name}» không đọc được.", f"What is stored of “{found.name}” cannot be read.")
        )
    return order


class Unsettled(NamedTuple):
    """Messages of the first campaign that stay out of the remainder and of which more may still become known."""

    receipts_due: int
    uncertain_undecided: int


def _unsettled(installation: Installation, name: str) -> Unsettled:
    from broadcaster.flow import uncertain
    from broadcaster.model import State
    from broadcaster.store.gauges import totals_of_campaigns

    with installation.store.read() as connection:
        totals = totals_of_campaigns(connection, (), (name,))
    # A campaign that was cancelled before its messages were written out has no totals.
    counted = totals[name][1] if name in totals else {}
    return Unsettled(counted.get(State.ACCEPTED, 0), uncertain.waiting(installation.store, name).messages)


def _free_path(installation: Installation, name: str) -> Path:
    """Return a file beside the settings that does not exist, under a name that no campaign has."""
    from broadcaster.store.campaigns import campaigns

    settings_file = opening.config_path()
    folder = (settings_file.parent if settings_file else Path()) / "campaigns"
    with installation.store.read() as connection:
        taken = {item.name for item in campaigns(connection)}
    return next(folder / f"{free}.toml" for free in _names(name) if free not in taken and not (folder / f"{free}.toml").exists())


def _names(name: str) -> Iterator[str]:
    base = _ENDED_SO.sub("", name)[:NAME_CHARS] + _ENDING
    yield base
    for number in range(2, MANY):
        yield f"{base}-{number}"


def _remarks(first: str, now: dt.datetime) -> list[str]:
    return [
        f"Gửi tiếp cho những người mà chiến dịch {first} chắc chắn chưa đến được; soạn lúc {output.moment(now)}.",
        "Tin chưa rõ kết quả, tin nhà mạng đã nhận mà chưa có biên nhận và người đã từ chối không nằm trong lệnh này.",
        "roster_max_age_h tính theo danh sách thuê bao của chiến dịch trước. Lệnh này phải trình, ký và lên lịch như mọi lệnh.",
    ]


def _write(path: Path, content: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise BroadcasterError(Said(f"{path}: đã có tệp này; không ghi đè.", f"{path}: there is such a file; it stays.")) from None
    except OSError as error:
        raise unwritable(path, error) from error


def _document(made: Order, audience: Audience) -> dict[str, object]:
    recipients, refused = _by_carrier(audience)
    return {
        "name": made.name,
        "remainder_of": made.audience.remainder_of,
        "recipients": audience.recipients,
        "carriers": [
            {"carrier": code, "recipients": recipients[code], "refused_since": refused[code]}
            for code in sorted({*recipients, *refused})
        ],
    }


def _by_carrier(audience: Audience) -> tuple[Counter[str], Counter[str]]:
    recipients: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for item in audience.counts:
        (refused if item.exclusion else recipients)[item.carrier] += item.messages
    return recipients, refused


def _show(path: Path, made: Order, audience: Audience, unsettled: Unsettled, *, written: bool) -> None:
    recipients, refused = _by_carrier(audience)
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Gửi tiếp", "To be sent"), right=True),
        Column(say("Nay đã từ chối", "Refused since"), right=True),
    ]
    output.table(columns, [[code, recipients[code], refused[code]] for code in sorted({*recipients, *refused})])
    count = output.number(audience.recipients)
    output.line(
        say(
            f"«{made.audience.remainder_of}» chắc chắn chưa đến được {count} thuê bao còn nhận tin.",
            f"“{made.audience.remainder_of}” certainly did not reach {count} subscribers who still take warnings.",
        )
    )
    for warning in _warnings(unsettled):
        output.tell(str(warning))
    if written:
        output.line(str(path))
        output.tell(say(f"Bước tiếp theo: broadcaster campaign plan {path}", f"Next: broadcaster campaign plan {path}"))


def _warnings(unsettled: Unsettled) -> list[Said]:
    found = []
    if unsettled.receipts_due:
        count = output.number(unsettled.receipts_due)
        found.append(
            Said(
                f"Chú ý: {count} tin còn chờ biên nhận nên chưa tính vào; biên nhận đến sau khi đã trình lệnh không thêm được ai.",
                f"Note: {count} messages still wait for receipts and do not count; no receipt after the submission adds anyone.",
            )
        )
    if unsettled.uncertain_undecided:
        count = output.number(unsettled.uncertain_undecided)
        found.append(
            Said(
                f"Chú ý: {count} tin chưa rõ kết quả còn chờ quyết định (campaign uncertain), không nằm trong lệnh này.",
                f"Note: {count} uncertain messages still wait for a decision (campaign uncertain) and stay out.",
            )
        )
    return found

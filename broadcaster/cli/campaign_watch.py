"""What `campaign status` shows: once, or again and again until nothing more comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from broadcaster.cli import opening, output
from broadcaster.cli.campaign_words import banner, link_name, service_words, stop_words, withheld_words
from broadcaster.cli.commands import invocation
from broadcaster.cli.output import Column
from broadcaster.flow.status import Progress, Status, status
from broadcaster.lang import Said, say
from broadcaster.model import CampaignState
from broadcaster.rules.lifecycle import ENDED, STATE_NAMES

if TYPE_CHECKING:
    from broadcaster.service.installation import Installation

FINISHED_WITH_FAILURES: Final = 3
REDRAW_S: Final = 0.5
LINE_S: Final = 2.0


def look(installation: Installation, reference: str) -> Status:
    """Return the campaign's status now."""
    return status(installation.store, reference, cards=installation.cards(), people=installation.people(), now=opening.now())


def exit_code(found: Status) -> int:
    """Return 3 when the campaign has ended and something of it is wrong or unknown, else 0."""
    broken = found.campaign.state in {CampaignState.HALTED, CampaignState.EXPIRED}
    lost = any(item.uncertain or item.halted for item in found.carriers)
    return FINISHED_WITH_FAILURES if ended(found) and (broken or lost) else 0


def ended(found: Status) -> bool:
    """Tell whether nothing is sent any more."""
    return found.campaign.state in ENDED


def document(found: Status) -> dict[str, object]:
    """Return the status as JSON values."""
    campaign = found.campaign
    return {
        "id": campaign.id,
        "name": campaign.name,
        "title": campaign.content["order"]["title"],
        "environment": campaign.content["order"]["environment"],
        "state": campaign.state,
        "service_running": found.service_running,
        "stopped": found.stop.reason if found.stop else None,
        "reason": campaign.reason,
        "remainder_of": found.remainder_of,
        "remainders": [{"name": item.name, "state": item.state} for item in found.remainders],
        "recipients": campaign.recipients,
        "planned_at": output.moment_of_ms(campaign.planned_ms),
        "started_at": output.moment_of_ms(campaign.started_ms),
        "finished_at": output.moment_of_ms(campaign.finished_ms),
        "approved": found.approvals.ok,
        "signed_by": list(found.approvals.valid),
        "missing": [str(item) for item in found.approvals.missing],
        "refused_since_planning": found.refused_since_planning,
        "carriers": [
            item._asdict()
            | {"finish": output.moment_of_ms(item.finish_ms), "closed_until": output.moment_of_ms(item.closed_until_ms)}
            for item in found.carriers
        ],
        "exit_code": exit_code(found),
    }


_COUNTS: Final[Mapping[str, Said]] = {
    "messages": Said("Tổng", "All"),
    "sent": Said("Đã gửi", "Sent"),
    "delivered": Said("Đã đến", "Delivered"),
    "failed": Said("Hỏng", "Failed"),
    "refused": Said("Nhà mạng từ chối", "Refused"),
    "uncertain": Said("Không rõ", "Uncertain"),
    "suppressed": Said("Thuê bao từ chối", "Opted out"),
    "closed": Said("Không gửi nữa", "Given up"),
    "left": Said("Còn lại", "Left"),
}
_ALWAYS: Final = frozenset({"sent", "delivered", "failed", "refused", "left"})


def _board_of(found: Status) -> tuple[list[Column], list[list[object]]]:
    """Return the table by carrier; counts that are zero everywhere stay out, so that it fits a terminal of 80 columns."""
    shown = [
        name for name in _COUNTS if name in _ALWAYS or (name != "messages" and any(getattr(item, name) for item in found.carriers))
    ]
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        *(Column(str(_COUNTS[name]), right=True) for name in shown),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Còn", "Time left"), right=True),
        Column(say("Kết nối", "Link")),
    ]
    now_ms = opening.now().timestamp() * 1000
    rows: list[list[object]] = [
        [
            item.carrier,
            *(getattr(item, name) for name in shown),
            f"{_rate(item.rate_tps)}/{'∞' if item.limit_tps is None else item.limit_tps}",
            output.duration((item.finish_ms - now_ms) / 1000) if item.finish_ms else None,
            _link(item),
        ]
        for item in found.carriers
    ]
    return columns, rows


def _rate(tps: float | None) -> str:
    return "–" if tps is None else output.decimal(tps, 0)


def _link(item: Progress) -> str:
    if item.paused is not None:
        return say(f"tạm ngừng: {item.paused}", f"paused: {item.paused}")
    if item.halted:
        return say(f"bị chặn: {item.halted}", f"halted: {item.halted}")
    link = f"{link_name(item.link)}: {item.reason}" if item.reason else link_name(item.link)
    withheld = withheld_words(output.moment_of_ms(item.closed_until_ms), item.quota_used) if item.left else ""
    if not withheld:
        return link
    return withheld if item.link == "bound" else f"{link}; {withheld}"


def _silent(found: Status) -> bool:
    """Tell whether the campaign waits for a service that does not run."""
    return not found.service_running and not ended(found)


def _headline(found: Status) -> str:
    campaign = found.campaign
    state = STATE_NAMES[campaign.state]
    reason = f" ({campaign.reason})" if campaign.reason else ""
    first = service_words(running=False) + "\n" if _silent(found) else ""
    first += stop_words(found.stop) + "\n" if found.stop else ""
    return f"{first}{campaign.name}: {state}{reason} · {banner(campaign.content['order']['environment'])}{_kin(found)}"


def _kin(found: Status) -> str:
    """Name the campaigns of the same story: to whose remainder this one goes, and which ones go to its own."""
    before, after = found.remainder_of, [f"{item.name} ({STATE_NAMES[item.state]})" for item in found.remainders]
    lines = [say(f"Gửi cho người mà «{before}» chưa đến được", f"To those whom “{before}” did not reach")] if before else []
    lines += [say("Người chưa đến được: ", "Those not reached: ") + ", ".join(after)] if after else []
    return "".join(f"\n{line}" for line in lines)


def show(found: Status) -> None:
    """Print the status for a person."""
    output.line(_headline(found))
    for item in found.approvals.missing if found.campaign.state is CampaignState.SUBMITTED else ():
        output.line(say("Còn thiếu: ", "Still missing: ") + str(item))
    if found.carriers:
        output.table(*_board_of(found))
    else:
        output.line(
            say(
                f"Chưa lập danh sách gửi. Thuê bao sẽ nhận: {output.number(found.campaign.recipients)}.",
                f"Messages not written out yet. Recipients: {output.number(found.campaign.recipients)}.",
            )
        )


def one_line(found: Status) -> str:
    """Return the whole campaign's progress in one line."""
    totals = {name: sum(getattr(item, name) for item in found.carriers) for name in _COUNTS}
    rates = [item.rate_tps for item in found.carriers if item.rate_tps is not None]
    counts = " · ".join(f"{str(said).lower()} {output.number(totals[name])}" for name, said in _COUNTS.items())
    pace = f"{_rate(sum(rates) if rates else None)} {say('phần/s', 'parts/s')}"
    first = service_words(running=False) + " · " if _silent(found) else ""
    first += stop_words(found.stop) + " · " if found.stop else ""
    return f"{first}{output.moment(opening.now())} · {STATE_NAMES[found.campaign.state]} · {counts} · {pace}"


@contextmanager
def _board() -> Iterator[Callable[[Status], None]]:
    """Open the live view on a terminal; what it yields redraws it in place."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:

        def draw(found: Status) -> None:
            board = output.drawn_table(*_board_of(found))
            live.update(Group(Text(_headline(found)), board, Text(one_line(found))), refresh=True)

        yield draw


def _view() -> AbstractContextManager[Callable[[Status], None]]:
    """Return what shows each look: a board, lines, or nothing under --json, which prints the last one only."""
    if invocation().as_json:
        return nullcontext(lambda _found: None)
    return _board() if sys.stdout.isatty() else nullcontext(lambda found: output.line(one_line(found)))


def follow(installation: Installation, reference: str, quiet_s: float) -> Status:
    """Show the status again and again until the campaign has ended and for `quiet_s` seconds no receipt came; return the last one."""
    pause_s = REDRAW_S if sys.stdout.isatty() else LINE_S
    newest, changed_at = -1, time.monotonic()
    with _view() as show_one:
        while True:
            found = look(installation, reference)
            show_one(found)
            if found.receipts != newest or not ended(found):
                newest, changed_at = found.receipts, time.monotonic()
            quiet_for_s = time.monotonic() - changed_at
            if ended(found) and quiet_for_s >= quiet_s:
                return found
            time.sleep(min(pause_s, max(quiet_s - quiet_for_s, 0.05)) if ended(found) else pause_s)

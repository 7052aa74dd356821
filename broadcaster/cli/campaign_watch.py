"""What `campaign status` shows: once, or again and again until nothing more comes."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from broadcaster.cli import opening, output
from broadcaster.cli.campaign_plan import banner
from broadcaster.cli.commands import invocation
from broadcaster.cli.output import Column
from broadcaster.flow.status import Progress, Status, status
from broadcaster.lang import say
from broadcaster.model import CampaignState
from broadcaster.rules.lifecycle import STATE_NAMES, possible

if TYPE_CHECKING:
    from rich.console import RenderableType
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
    """Tell whether nothing more can be done to the campaign."""
    return not possible(found.campaign.state)


def document(found: Status) -> dict[str, object]:
    """Return the status as JSON values."""
    campaign = found.campaign
    return {
        "id": campaign.id,
        "name": campaign.name,
        "title": campaign.content["order"]["title"],
        "environment": campaign.content["order"]["environment"],
        "state": campaign.state,
        "reason": campaign.reason,
        "recipients": campaign.recipients,
        "planned_at": output.moment_of_ms(campaign.planned_ms),
        "started_at": output.moment_of_ms(campaign.started_ms),
        "finished_at": output.moment_of_ms(campaign.finished_ms),
        "approved": found.approvals.ok,
        "signed_by": list(found.approvals.valid),
        "missing": [str(item) for item in found.approvals.missing],
        "refused_since_planning": found.refused_since_planning,
        "carriers": [item._asdict() | {"finish": output.moment_of_ms(item.finish_ms)} for item in found.carriers],
        "exit_code": exit_code(found),
    }


_TITLES: Final = ("messages", "sent", "delivered", "failed", "refused", "uncertain", "suppressed", "left")


def _columns() -> list[Column]:
    words = {
        "messages": say("Tổng", "All"),
        "sent": say("Đã gửi", "Sent"),
        "delivered": say("Đã đến", "Delivered"),
        "failed": say("Không đến", "Failed"),
        "refused": say("Bị từ chối", "Refused"),
        "uncertain": say("Không rõ", "Uncertain"),
        "suppressed": say("Thôi gửi", "Suppressed"),
        "left": say("Còn lại", "Left"),
    }
    return [
        Column(say("Nhà mạng", "Carrier")),
        *(Column(words[name], right=True) for name in _TITLES),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Giới hạn", "Limit"), right=True),
        Column(say("Còn", "Time left"), right=True),
        Column(say("Kết nối", "Link")),
    ]


def _rows(found: Status) -> list[list[object]]:
    now_ms = opening.now().timestamp() * 1000
    return [
        [
            item.carrier,
            *(getattr(item, name) for name in _TITLES),
            output.decimal(item.rate_tps, 0),
            say("không", "none") if item.limit_tps is None else item.limit_tps,
            output.duration((item.finish_ms - now_ms) / 1000) if item.finish_ms else "–",
            _link(item),
        ]
        for item in found.carriers
    ]


def _link(item: Progress) -> str:
    if item.halted:
        return say(f"bị chặn: {item.halted}", f"halted: {item.halted}")
    return f"{item.link}: {item.reason}" if item.reason else item.link


def _headline(found: Status) -> str:
    campaign = found.campaign
    state = STATE_NAMES[campaign.state]
    reason = f" ({campaign.reason})" if campaign.reason else ""
    return f"{campaign.name}: {state}{reason} · {banner(campaign.content['order']['environment'])}"


def show(found: Status) -> None:
    """Print the status for a person."""
    output.line(_headline(found))
    for item in found.approvals.missing if found.campaign.state is CampaignState.SUBMITTED else ():
        output.line(say("Còn thiếu: ", "Still missing: ") + str(item))
    if found.carriers:
        output.table(_columns(), _rows(found))
    else:
        output.line(
            say(
                f"Chưa lập danh sách gửi. Thuê bao sẽ nhận: {output.number(found.campaign.recipients)}.",
                f"Messages not written out yet. Recipients: {output.number(found.campaign.recipients)}.",
            )
        )


def one_line(found: Status) -> str:
    """Return the whole campaign's progress in one line."""
    totals = {name: sum(getattr(item, name) for item in found.carriers) for name in _TITLES}
    words = {column: totals[name] for column, name in zip((column.title for column in _columns()[1:]), _TITLES, strict=False)}
    rate = sum(item.rate_tps for item in found.carriers)
    counts = " · ".join(f"{title.lower()} {output.number(count)}" for title, count in words.items())
    return f"{output.moment(opening.now())} · {STATE_NAMES[found.campaign.state]} · {counts} · {output.decimal(rate, 0)} {say('phần/s', 'parts/s')}"


class _Board:
    """The live view on a terminal, redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(highlight=False), auto_refresh=False)

    def __enter__(self) -> _Board:
        self._live.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._live.__exit__(*fault)

    def draw(self, found: Status) -> None:
        """Replace what stands on the terminal."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [Text(_headline(found)), output.drawn_table(_columns(), _rows(found)), Text(one_line(found))]
        self._live.update(Group(*parts), refresh=True)


def follow(installation: Installation, reference: str, quiet_s: float) -> Status:
    """Show the status again and again until the campaign has ended and for `quiet_s` seconds no receipt came; return the last one."""
    silent = invocation().as_json
    drawn = sys.stdout.isatty() and not silent
    board: AbstractContextManager[_Board | None] = _Board() if drawn else nullcontext()
    newest, changed_at = -1, time.monotonic()
    with board as view:
        while True:
            found = look(installation, reference)
            if view:
                view.draw(found)
            elif not silent:
                output.line(one_line(found))
            if found.receipts != newest or not ended(found):
                newest, changed_at = found.receipts, time.monotonic()
            quiet_for_s = time.monotonic() - changed_at
            if ended(found) and quiet_for_s >= quiet_s:
                return found
            pause_s = REDRAW_S if drawn else LINE_S
            time.sleep(min(pause_s, max(quiet_s - quiet_for_s, 0.05)) if ended(found) else pause_s)

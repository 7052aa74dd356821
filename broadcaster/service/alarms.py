"""Alarms: what somebody must look at leaves through a configured command or webhook, whatever becomes of it there.

An alarm names a cause, a carrier and figures; it has no place for a number or a text. One cause about one carrier is told at most
once in the configured time. Telling happens beside the sending: a program that hangs or an address that is dead costs an alarm, and
nothing else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from broadcaster.files import settings
from broadcaster.lang import Said
from broadcaster.model import Environment
from broadcaster.service.logs import mask
from broadcaster.store.times import Clock

TELL_TIMEOUT_S: Final = 10.0
TRIES: Final = 3
TRY_AGAIN_S: Final = 5.0
MOST_WAITING: Final = 100

log = structlog.get_logger("alarms")


class Cause(StrEnum):
    """What somebody is called for."""

    CARRIER_HALTED = "carrier-halted"
    """A carrier's part of a campaign, or its account, was stopped before it burned its audience (F53-F55)."""
    LINK_DOWN = "link-down"
    UNCERTAIN = "uncertain"
    CLOCK = "clock"
    RESTORED = "database-restored"
    STORE = "store-failing"
    IDS = "id-rule"
    """The carrier's card reads message ids in a way that leaves receipts unmatched (F02, F06)."""
    ACK_LATE = "ack-late"
    """A carrier waits more than a second for the acknowledgement of its receipts (F16)."""
    BIND_GIVEN_UP = "bind-given-up"
    """A carrier refused our credentials twice; nothing more is tried before the service is started anew (F30)."""
    BIND_RESTS = "bind-rests"
    """Too many of a carrier's answers on one connection are passing troubles; it is left alone for a while (F52)."""
    QUOTA_USED = "quota-used"
    """A carrier gets nothing more until its next day or month, for the quota on its card is used up."""
    JOURNAL = "journal-failed"
    """The second place of refusals cannot be written, so carriers keep what subscribers text."""
    JOURNAL_DAMAGED = "journal-damaged"
    """Lines of the second place of refusals cannot be used, or are missing and were written again."""
    NOT_APPROVED = "not-approved"
    SUSPENDED = "suspended"


_EVENTS: Final[Mapping[str, tuple[Cause, Said]]] = {
    "carrier-halted": (
        Cause.CARRIER_HALTED,
        Said("Nhà mạng {carrier}: đã tự dừng gửi ({reason}).", "Carrier {carrier}: sending was stopped ({reason})."),
    ),
    "id-rule": (
        Cause.IDS,
        Said(
            "Nhà mạng {carrier}: biên nhận không khớp vì cách đọc mã tin trên thẻ ({reason}).",
            "Carrier {carrier}: receipts do not match for how its card reads message ids ({reason}).",
        ),
    ),
    "ack-late": (
        Cause.ACK_LATE,
        Said(
            "Nhà mạng {carrier}: biên nhận về nhanh hơn lưu kịp, trả lời chậm hơn một giây.",
            "Carrier {carrier}: receipts come faster than they can be stored; they are acknowledged after more than a second.",
        ),
    ),
    "bind-given-up": (
        Cause.BIND_GIVEN_UP,
        Said(
            "Nhà mạng {carrier}: một kết nối đã thôi thử ({reason}). Sửa thẻ nhà mạng rồi khởi động lại dịch vụ.",
            "Carrier {carrier}: a bind is not tried any more ({reason}). Correct the carrier card, then start the service anew.",
        ),
    ),
    "bind-rests": (
        Cause.BIND_RESTS,
        Said(
            "Nhà mạng {carrier}: tổng đài báo lỗi tạm thời quá nhiều; một kết nối tạm nghỉ rồi thử lại.",
            "Carrier {carrier}: its gateway answers with too many passing troubles; one bind rests, then tries again.",
        ),
    ),
    "quota-used": (
        Cause.QUOTA_USED,
        Said(
            "Nhà mạng {carrier}: đã hết hạn mức ghi trên thẻ; tạm không gửi qua nhà mạng này cho đến ngày hoặc tháng sau.",
            "Carrier {carrier}: the quota on its card is used up; nothing is sent to it until the next day or month.",
        ),
    ),
    "journal-failed": (
        Cause.JOURNAL,
        Said(
            "Không ghi được sổ từ chối: tin trả lời của thuê bao chưa được nhận ({reason}).",
            "The journal of refusals cannot be written: subscribers' texts are not taken ({reason}).",
        ),
    ),
    "journal-incomplete": (
        Cause.JOURNAL_DAMAGED,
        Said(
            "Sổ từ chối thiếu {count} lời mà cơ sở dữ liệu có; đã ghi lại vào sổ. Xem vì sao tệp bị mất hoặc bị thay.",
            "The journal of refusals lacked {count} entries of the database; they were written again. See why the file was lost.",
        ),
    ),
    "journal-damaged": (
        Cause.JOURNAL_DAMAGED,
        Said(
            "Sổ từ chối có {count} dòng bị sửa hoặc hỏng (dòng {reason}); các dòng khác vẫn có hiệu lực.",
            "{count} lines of the journal of refusals were altered or are damaged (lines {reason}); all others are in force.",
        ),
    ),
    "not-approved": (
        Cause.NOT_APPROVED,
        Said("Nội dung lưu trữ khác nội dung đã ký: chiến dịch bị chặn.", "What is stored is not what was signed: halted."),
    ),
}
"""Events in the log that somebody is called for."""


class Alarms:
    """Tell each alarm in turn, in a task of its own. Make it inside a running event loop."""

    def __init__(self, where: settings.Alarms, environment: Environment, clock: Clock) -> None:
        self._where = where
        self._environment = environment
        self._clock = clock
        self._told: dict[tuple[Cause, str], float] = {}
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._task = asyncio.create_task(self._tell_all())
        self.raised = 0

    def raise_alarm(self, cause: Cause, subject: str, said: Said, **figures: float) -> bool:
        """Log an alarm and have it told, unless it was in the configured time; `subject` is a carrier's code, or empty.

        Returns whether it was new.
        """
        now_s = self._clock.monotonic()
        last = self._told.get((cause, subject))
        if last is not None and now_s - last < self._where.repeat_min * 60:
            return False
        self._told[cause, subject] = now_s
        self.raised += 1
        log.error("alarm", cause=cause.value, carrier=subject, reason=said.en, **figures)
        document = {
            "alarm": cause.value,
            "carrier": subject,
            "environment": self._environment.value,
            "at": self._clock.now().isoformat(timespec="seconds"),
            "vi": mask(said.vi),
            "en": mask(said.en),
            **figures,
        }
        if not self._where.command and not self._where.webhook:
            return True
        if self._waiting.full():
            log.warning("alarm-not-told", cause=cause.value, carrier=subject, reason="too many are waiting")
        else:
            self._waiting.put_nowait(document)
        return True

    def hear(self, event: Mapping[str, Any]) -> None:
        """Raise the alarm that an event in the log stands for, if any; from any thread."""
        found = _EVENTS.get(str(event.get("event")))
        if found is not None:
            cause, said = found
            words = {name: event.get(name, "") for name in ("carrier", "reason", "count")}
            self._loop.call_soon_threadsafe(
                self.raise_alarm, cause, str(words["carrier"]), Said(said.vi.format(**words), said.en.format(**words))
            )

    async def close(self, limit_s: float = TELL_TIMEOUT_S) -> None:
        """Tell what still waits, for so long at most, and end."""
        told = asyncio.ensure_future(self._waiting.join())
        await asyncio.wait({told, self._task}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            log.warning("alarm-not-told", count=self._waiting.qsize() + 1, reason="the service ended")
            told.cancel()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tell_all(self) -> None:
        while True:
            document = await self._waiting.get()
            try:
                body = json.dumps(document, ensure_ascii=False).encode()
                if self._where.command:
                    await self._tell(document, lambda body=body: _run(self._where.command, body))  # type: ignore[misc]
                if self._where.webhook:
                    await self._tell(document, lambda body=body: _post(self._where.webhook, body))  # type: ignore[misc]
            finally:
                self._waiting.task_done()

    async def _tell(self, document: dict[str, Any], way: Callable[[], Awaitable[None]]) -> None:
        for left in reversed(range(TRIES)):
            try:
                await asyncio.wait_for(way(), TELL_TIMEOUT_S)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                why = str(error) or type(error).__name__
                log.warning("alarm-not-told", cause=document["alarm"], carrier=document["carrier"], reason=why)
                if left:
                    await asyncio.sleep(TRY_AGAIN_S)
            else:
                return


async def _run(command: Sequence[str], body: bytes) -> None:
    """Give the alarm to a program. Raises `OSError` when it cannot be started, ValueError when it fails."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
    try:
        await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ValueError(f"the command ended with {process.returncode}")


async def _post(url: str, body: bytes) -> None:
    """Post the alarm to an address. Raises `OSError` when it cannot be reached, ValueError when it does not take it."""
    parts = urlsplit(url)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or ""
    reader, writer = await asyncio.open_connection(host, parts.port or (443 if secure else 80), ssl=secure)
    try:
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + body)
        status = (await reader.readuntil(b"\r\n")).split(b" ", 2)
    finally:
        writer.close()
    if len(status) < 2 or not status[1].startswith(b"2"):
        raise ValueError(f"the webhook answered {status[1:2]}")

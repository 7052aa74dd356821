"""What stands between the service and a world that is not as it believes: an older database, a clock that was set, a sleep.

Nothing here decides what is sent. It only withholds: no start on a database that may have forgotten what was sent (I18), no part
while the last look at the database is out of date, and only urgent warnings while the wall clock cannot be trusted (I10).
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError, StoreError
from broadcaster.flow.underway import Job
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.rules.clockguard import SUSPENDED_NS, ClockGuard, Trust
from broadcaster.service.alarms import Alarms, Cause
from broadcaster.service.local import Account
from broadcaster.service.metrics import BindReading
from broadcaster.store.gauges import uncertain_now
from broadcaster.store.restore import Doubt, doubt_about
from broadcaster.store.sidecar import Mark, inode_of, mark_of, read_mark, write_mark
from broadcaster.store.times import Clock, from_ms, to_ms
from broadcaster.store.writer import Writer

STALE_NS: Final = 1_000_000_000
"""On a look at the database older than this no part is written: a stop, a pause or a refusal may stand there (I7, I12)."""
STORE_SLOW_S: Final = 5.0
"""A beat that is not durable after so long is a failing store."""
AHEAD_S: Final = 5
"""How much sending the note runs ahead of the database: it is written each second, with what was durable a second before. Once it is
older than that no part is written until it is written anew."""
UNLIMITED_TPS: Final = 50_000
"""What an account without a limit is taken to send at most."""
COMPARE_NS: Final = 10_000_000
"""How often the clocks are compared; in between they are taken to stand as they stood, since the time is asked for very often."""
AGAIN_NS: Final = 1_001_000_000
"""How long after the latest moment that was, by a clock set back, nothing is written."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger("guard")

_DOUBTS: Final[Mapping[Doubt, Said]] = {
    Doubt.OLDER: Said(
        "Cơ sở dữ liệu này cũ hơn những gì đã gửi: có thể nó được khôi phục từ bản sao lưu.",
        "This database is older than what was sent: it may have been restored from a backup.",
    ),
    Doubt.REPLACED: Said(
        "Tệp cơ sở dữ liệu không còn là tệp mà dịch vụ đã dùng: nó được thay, chép sang hoặc khôi phục.",
        "The database is not the file the service used: it was replaced, copied or restored.",
    ),
    Doubt.UNMARKED: Said(
        "Thiếu tệp mốc bên cạnh cơ sở dữ liệu mà dịch vụ đã dùng: không biết đã gửi đến đâu.",
        "The note beside the database that a service used is missing: nobody knows how far it had come.",
    ),
}
_ADOPT: Final = Said(
    "Dịch vụ không gửi gì. Xem rồi nhận cơ sở dữ liệu này: broadcaster db adopt --dry-run --reason …",
    "The service sends nothing. See, then take it over: broadcaster db adopt --dry-run --reason …",
)
_TRUSTS: Final[Mapping[Trust, Said]] = {
    Trust.JUMPED: Said(
        "Đồng hồ máy đã bị chỉnh: chỉ gửi tin khẩn cho đến khi giờ đúng trở lại. Nếu giờ hiện tại mới đúng: dừng dịch vụ, chạy "
        "broadcaster db adopt, rồi chạy lại dịch vụ.",
        "The machine's clock was set: only urgent warnings are sent until it is right again. If the time it shows now is right: stop "
        "the service, run broadcaster db adopt, start the service.",
    ),
    Trust.EARLY: Said(
        "Đồng hồ máy sớm hơn lần chạy trước: chỉ gửi tin khẩn cho đến khi chỉnh lại giờ.",
        "The machine's clock is earlier than the last run: only urgent warnings are sent until it is set.",
    ),
}


class SteadyClock:
    """The clock that the service lives by: the wall clock, or where it would stand had nobody set it."""

    def __init__(self, clock: Clock, note: Mark | None, boot: str) -> None:
        self._clock = clock
        self.monotonic = clock.monotonic
        self.monotonic_ns = clock.monotonic_ns
        seen_ns = note.seen_ms * 1_000_000 if note else None
        anchor_ns = note.anchor_ns if note and boot and note.boot == boot else None
        self._guard = ClockGuard(*self._both(), seen_ns, anchor_ns)
        self._still = True
        self._latest_ns = self._resume_ns = 0
        self._compared_ns = self._clock.monotonic_ns()

    def _both(self) -> tuple[int, int]:
        return to_ms(self._clock.now()) * 1_000_000, self._clock.monotonic_ns()

    @property
    def trust(self) -> Trust:
        return self._guard.trust

    @property
    def anchor_ns(self) -> int:
        return self._guard.anchor_ns

    @property
    def drift_s(self) -> float:
        """Return by how much the wall clock was set, in seconds."""
        return self._guard.drift_ns(*self._both()) / 1e9

    def still(self, running_ns: int) -> bool:
        """Tell whether the clocks stood as the last look judged them, and no earlier than before, within the last `COMPARE_NS`."""
        if running_ns - self._compared_ns >= COMPARE_NS:
            self.compare(running_ns)
        return self._still

    def compare(self, running_ns: int) -> bool:
        """Tell the same of this very moment."""
        self._compared_ns = running_ns
        wall_ns = to_ms(self._clock.now()) * 1_000_000
        judged_ns = self._guard.steady_ns(wall_ns, running_ns)
        # However little a clock is set back: no second is written in twice, for rates and orders are held against its seconds.
        if judged_ns < self._latest_ns:
            self._resume_ns = self._latest_ns + AGAIN_NS
        self._latest_ns = max(self._latest_ns, judged_ns)
        self._still = self._guard.still(wall_ns, running_ns) and judged_ns >= self._resume_ns
        return self._still

    def look(self) -> Trust:
        """Judge the clocks anew."""
        trust = self._guard.look(*self._both())
        self.compare(self._clock.monotonic_ns())
        return trust

    def now(self) -> dt.datetime:
        """Return the time to judge by, in UTC."""
        at, running_ns = self._clock.now(), self._clock.monotonic_ns()
        if self._guard.trust is Trust.SOUND and self.still(running_ns):
            return at
        wall_ns = to_ms(at) * 1_000_000
        steady_ns = self._guard.steady_ns(wall_ns, running_ns)
        return at if steady_ns == wall_ns else from_ms(steady_ns // 1_000_000)


class _Noted(NamedTuple):
    """What one beat found: how far the database had come, and when; the uncertain messages, and whether the note was written."""

    mark: Mark
    at_ns: int
    uncertain: int
    unwritten: StoreError | None


class Guard:
    """Withhold what must not be sent. `database` is the SQLite file, None on another engine, where there is no note beside it.

    `alarms` tells people, `link_down_s` and `uncertain` from when on.
    """

    def __init__(
        self,
        database: Path | None,
        clock: Clock,
        alarms: Alarms,
        cards: Mapping[CarrierCode, CarrierCard],
        *,
        link_down_s: int,
        uncertain: int,
    ) -> None:
        self._database = database
        self._alarms = alarms
        self._link_down_s = link_down_s
        self._uncertain = uncertain
        self._ahead = {str(card.code): _ahead(card) for card in cards.values()}
        self._boot = _boot_id()
        self._note = read_mark(database) if database else None
        self.clock = SteadyClock(clock, self._note, self._boot)
        self._told = Trust.SOUND
        self._looked_ns: int | None = None
        self._accounts: list[_Held] = []
        self._durable: Mark | None = None
        self._durable_ns = 0
        self._note_ns: int | None = None
        """When the database was as far as the note says."""
        self._beat_at_s: float | None = None
        self._down_since_s: dict[tuple[str, int], float] = {}
        self._replaced = False
        self.store_s = 0.0
        self.store_failures = 0

    # -- the database

    def admit(self, connection: Connection) -> None:
        """Raise `StoreError`, and an alarm, when this database may have forgotten what was sent (protocol steps T0, I18).

        A first start leaves a note before it raises the epoch, so that a crash in between is not taken for a note that was lost.
        """
        if self._database is None:
            return
        doubt = doubt_about(mark_of(connection, self._database, 0), self._note)
        if doubt is not None:
            said = _DOUBTS[doubt]
            self._alarms.raise_alarm(Cause.RESTORED, "", said)
            raise StoreError(said, _ADOPT)
        if self._note is None:
            self.write_note(connection, ahead=False)

    def write_note(self, connection: Connection, *, ahead: bool = True) -> None:
        """Write the note from what is durable now; without `ahead` when nothing is sent any more. Raises `StoreError`."""
        if self._database is not None:
            running_ns = self.clock.monotonic_ns()
            write_mark(self._database, self._mark(connection, self._ahead if ahead else {}))
            self._note_ns = running_ns

    def _mark(self, connection: Connection, ahead: Mapping[str, int]) -> Mark:
        assert self._database is not None  # noqa: S101  asked by those who looked
        mark = mark_of(connection, self._database, to_ms(self.clock.now()), ahead)
        # By an early clock nobody knows how far the clocks are apart: the next process must not hold a right one against it.
        return mark._replace(boot="" if self.clock.trust is Trust.EARLY else self._boot, anchor_ns=self.clock.anchor_ns)

    # -- what may be sent

    def over(self, accounts: Mapping[CarrierCode, Account]) -> dict[CarrierCode, Account]:
        """Return the accounts as campaigns may use them: what must wait is not handed on."""
        held = {code: _Held(account, self._allows) for code, account in accounts.items()}
        self._accounts = list(held.values())
        return dict(held)

    def _allows(self, job: Job) -> bool:
        return not self._replaced and (job.urgent or self.clock.trust is Trust.SOUND)

    def may_write(self) -> bool:
        """Tell whether parts may be written now: the database was looked at lately, the clocks stand as they did then, and the note
        beside the database covers what is sent.
        """
        running_ns = self.clock.monotonic_ns()
        if self._looked_ns is None or running_ns - self._looked_ns > STALE_NS:
            return False
        if self._note_ns is not None and running_ns - self._note_ns > AHEAD_S * 1_000_000_000:
            return False
        return self.clock.compare(running_ns)

    def look(self, drop_links: Callable[[], None]) -> None:
        """Judge clocks and sleep, right after the database was looked at; `drop_links` closes every connection (T7)."""
        running_ns = self.clock.monotonic_ns()
        away_ns = 0 if self._looked_ns is None else running_ns - self._looked_ns
        self._looked_ns = running_ns
        if away_ns > SUSPENDED_NS:
            seconds = away_ns // 1_000_000_000
            said = Said(f"Dịch vụ đã đứng {seconds} giây: kết nối lại.", f"The service stood still for {seconds} s: connecting anew.")
            self._alarms.raise_alarm(Cause.SUSPENDED, "", said, seconds=seconds)
            drop_links()
            for account in self._accounts:
                account.give_back_all()
        trust = self.clock.look()
        if trust is not self._told:
            self._told = trust
            log.warning("clock", state=trust.name.lower(), seconds=round(self.clock.drift_s, 3))
            if trust is not Trust.SOUND:
                self._alarms.raise_alarm(Cause.CLOCK, "", _TRUSTS[trust], seconds=round(self.clock.drift_s, 3))
            self._review()

    def _review(self) -> None:
        for account in self._accounts:
            account.review()

    # -- the beat

    def beat(self, writer: Writer, binds: Sequence[BindReading], work: Callable[[Connection], None]) -> None:
        """Once a second: have `work` stored and the note written, and see whether store, links and figures are as they should be.

        A beat whose forerunner is not durable yet is left out.
        """
        self._watch_file()
        self._watch_links(binds)
        moment = self.clock.monotonic()
        if self._beat_at_s is not None:
            if moment - self._beat_at_s > STORE_SLOW_S:
                self._store_fails(None)
            return
        self._beat_at_s = moment
        writer.submit(lambda connection: self._store(connection, work)).add_done_callback(lambda done: self._noted(done, moment))

    def _store(self, connection: Connection, work: Callable[[Connection], None]) -> _Noted | None:
        """Do the work, write what was durable a beat ago, and read how far the database has come (on the writer's thread)."""
        work(connection)
        if self._database is None:
            return None
        unwritten = None
        if self._durable is not None:
            try:
                write_mark(self._database, self._durable)
                self._note_ns = self._durable_ns
            except StoreError as error:
                unwritten = error
        running_ns = self.clock.monotonic_ns()
        return _Noted(self._mark(connection, self._ahead), running_ns, uncertain_now(connection), unwritten)

    def _noted(self, done: asyncio.Future[_Noted | None], since_s: float) -> None:
        self._beat_at_s = None
        self.store_s = self.clock.monotonic() - since_s
        error = done.exception()
        if error is not None:
            self._store_fails(error)
            return
        found = done.result()
        if found is None:
            return
        self._durable, self._durable_ns = found.mark, found.at_ns
        if found.unwritten is not None:
            self._store_fails(found.unwritten)
        if found.uncertain > self._uncertain:
            said = Said(f"{found.uncertain} tin không rõ kết quả.", f"{found.uncertain} messages are uncertain.")
            self._alarms.raise_alarm(Cause.UNCERTAIN, "", said, count=found.uncertain)

    def _store_fails(self, error: BaseException | None) -> None:
        self.store_failures += 1
        log.error("not-stored", error=type(error).__name__ if error else "slow", seconds=round(self.store_s, 3))
        why = Said("chậm", "slow") if error is None else error.message if isinstance(error, BroadcasterError) else None
        said = Said(
            f"Không ghi được cơ sở dữ liệu ({why.vi if why else type(error).__name__}); việc gửi dừng cho đến khi ghi được.",
            f"The database cannot be written ({why.en if why else type(error).__name__}); sending waits until it can.",
        )
        self._alarms.raise_alarm(Cause.STORE, "", said)

    def _watch_file(self) -> None:
        """Stop everything once the database was replaced: what this service goes on writing into is a file that is gone."""
        if self._database is None or self._durable is None or self._replaced:
            return
        try:
            self._replaced = inode_of(self._database) != self._durable.inode
        except StoreError:
            self._replaced = True
        if self._replaced:
            self._alarms.raise_alarm(Cause.RESTORED, "", _DOUBTS[Doubt.REPLACED])
            self._review()

    def _watch_links(self, binds: Sequence[BindReading]) -> None:
        moment = self.clock.monotonic()
        for bind in binds:
            name = (bind.carrier, bind.bind)
            if bind.bound:
                self._down_since_s.pop(name, None)
                continue
            down_s = int(moment - self._down_since_s.setdefault(name, moment))
            if down_s > self._link_down_s:
                said = Said(
                    f"Nhà mạng {bind.carrier}: kết nối {bind.bind} đứt đã {down_s} giây.",
                    f"Carrier {bind.carrier}: bind {bind.bind} has been down for {down_s} s.",
                )
                self._alarms.raise_alarm(Cause.LINK_DOWN, bind.carrier, said, seconds=down_s)


class _Held:
    """An account of which only what may be sent now is asked."""

    def __init__(self, account: Account, allows: Callable[[Job], bool]) -> None:
        self.card = account.card
        self._account = account
        self._allows = allows
        self._jobs: dict[int, Job] = {}

    def assign(self, jobs: Mapping[int, Job]) -> None:
        self._jobs = dict(jobs)
        self.review()

    def review(self) -> None:
        """Hand on what may be sent now, of what was assigned last."""
        self._account.assign({lane_id: job for lane_id, job in self._jobs.items() if self._allows(job)})

    def give_back_all(self) -> None:
        self._account.give_back(set(self._jobs))

    def give_back(self, lane_ids: set[int]) -> None:
        self._account.give_back(lane_ids)

    def cut_short(self, lane_ids: set[int]) -> None:
        self._account.cut_short(lane_ids)

    async def cancel(self, smsc_id: str, source: str, destination: str) -> int | None:
        return await self._account.cancel(smsc_id, source, destination)


def _ahead(card: CarrierCard) -> int:
    """Return how many positions of a lane may be leased before the next note."""
    return AHEAD_S * (card.tps if card.tps is not None else UNLIMITED_TPS) + 2 * card.window * card.binds


def _boot_id() -> str:
    """Return what names this start of the machine, empty where nothing does."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""

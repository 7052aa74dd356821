"""The service's own watch: guard, alarms, metrics and story together, told of each look and each beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import structlog

from broadcaster.errors import BroadcasterError
from broadcaster.lang import Said
from broadcaster.link.client import LinkState
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.service.alarms import Alarms
from broadcaster.service.guard import Guard
from broadcaster.service.installation import Installation
from broadcaster.service.line import Line
from broadcaster.service.logs import heard_by
from broadcaster.service.metrics import BindReading, Metrics, Reading
from broadcaster.service.story import Story
from broadcaster.store.links import LinkRow, put_links
from broadcaster.store.times import Clock
from broadcaster.store.writer import Writer

_ASLEEP = Said(vi="dịch vụ vừa đứng lâu, kết nối lại", en="the service stood still for long, connecting anew")

log = structlog.get_logger("watch")


class Watch:
    """Watch one run of the service. Make it inside a running event loop. Raises `StoreError` for a note that cannot be read."""

    def __init__(self, installation: Installation, clock: Clock, cards: Mapping[CarrierCode, CarrierCard]) -> None:
        settings = installation.settings
        self._store = installation.store
        self._alarms = Alarms(settings.alarms, settings.environment, clock)
        self.guard = Guard(
            self._store.path,
            clock,
            self._alarms,
            cards,
            link_down_s=settings.alarms.link_down_s,
            uncertain=settings.alarms.uncertain,
        )
        self._metrics = Metrics(self._store)
        self._port = settings.metrics.port
        self._story = Story()
        self._open = ExitStack()

    def open(self) -> None:
        """Begin: refuse a database in doubt, hear what is logged, answer scrapes. Raises `StoreError`."""
        with self._store.read() as connection:
            self.guard.admit(connection)
        self._open.enter_context(heard_by(self._alarms.hear))
        if self._port:
            self._metrics.serve(self._port)
            self._open.callback(self._metrics.close)

    async def close(self) -> None:
        """End, and tell the last alarms."""
        self._open.close()
        await self._alarms.close()

    def write_note(self, *, ahead: bool) -> None:
        """Write how far the database has come, at the start and, without `ahead`, at the end. Raises `StoreError`."""
        with self._store.read() as connection:
            self.guard.write_note(connection, ahead=ahead)

    def look(self, lines: Sequence[Line]) -> None:
        """Note that the database was looked at just now."""

        def drop() -> None:
            for line in lines:
                for bind in line.binds:
                    bind.client.drop(_ASLEEP)

        self.guard.look(drop)

    def beat(self, writer: Writer, lines: Sequence[Line], rows: Sequence[LinkRow], others: Sequence[LinkRow] = ()) -> None:
        """Once a second: publish the figures, look for what is an alarm, go on with the story.

        Stores `rows`, those of all binds, and `others`, those of links on which nothing is sent.
        """
        pairs = zip(((line, bind) for line in lines for bind in line.binds), rows, strict=True)
        binds = [
            BindReading(
                row.carrier,
                row.bind,
                row.state == LinkState.BOUND.value,
                line.card.window,
                row.outstanding,
                bind.sender.sent,
                row.rate_tps,
            )
            for (line, bind), row in pairs
        ]
        binds += [BindReading(row.carrier, row.bind, row.state == LinkState.BOUND.value, 1, 0, 0, 0.0) for row in others]
        self.guard.beat(writer, binds, lambda connection: put_links(connection, [*rows, *others]))
        self._metrics.reading = Reading(
            binds,
            [(str(line.card.code), tps) for line in lines if (tps := line.account.limit_tps) is not None],
            sum(line.account.backlog for line in lines),
            self.guard.store_s,
            self.guard.store_failures,
            self.guard.clock.drift_s,
            self._alarms.raised,
        )
        try:
            with self._store.read() as connection:
                self._story.tell(connection)
        except BroadcasterError as error:
            log.warning("story-not-told", error=type(error).__name__)

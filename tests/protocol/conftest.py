"""A card for a carrier on the loopback, a client that notes everything, and a simulated carrier on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broadcaster.link.backoff import Backoff
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.link.simulator import SimulatorTotals, serve
from broadcaster.link.temperament import SpanMs, Temperament
from broadcaster.model import CarrierCard, CarrierCode, Endpoint, Environment, IdRule, Secret
from broadcaster.smpp import SubmitTemplate

PATIENCE_S = 20.0
QUICK = Backoff(first_s=0.01, longest_s=0.05, spacing_s=0.01, already_bound_s=(0.01, 0.02, 0.03))
TEMPLATE = SubmitTemplate.build(source="CANHBAO", source_ton=5, source_npi=0, short_message=b"CANH BAO lua dao")
CALM = Temperament(receipt_delay_ms=SpanMs(0, 10), reply_delay_ms=SpanMs(0, 10))


@pytest.fixture
def card() -> CarrierCard:
    return CarrierCard(
        code=CarrierCode("thu"),
        name="Thử",
        environment=Environment.REHEARSAL,
        mnc="99",
        endpoint=Endpoint("127.0.0.1", 1),
        system_id="dien-tap",
        password=Secret("mat-khau"),
        system_type="",
        tls=False,
        tps=None,
        window=50,
        max_parts=3,
        allow_unicode=True,
        forbidden="",
        source_ton=5,
        source_npi=0,
        destination_ton=1,
        destination_npi=1,
        long_text="udh8",
        ids=IdRule(),
        receipt_means="handset",
        status_verdicts={},
        enquire_link_s=30.0,
        response_timeout_s=10.0,
        throttle_pause_s=1.0,
        retry_after_s=(1,),
        receipt_timeout_h=72,
    )


class Carrier:
    """A running simulated carrier."""

    def __init__(self, card: CarrierCard, ledger: Path, stop: asyncio.Event) -> None:
        self.card = card
        self.ledger = ledger
        self.stop = stop
        self.totals = SimulatorTotals()


@contextlib.asynccontextmanager
async def carrier(card: CarrierCard, temperament: Temperament, ledger: Path, port: int = 0) -> AsyncIterator[Carrier]:
    """Run a simulated carrier; its card names the port it listens on; its totals are there once it has stopped."""
    stop = asyncio.Event()
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(card, temperament, ledger, port=port, ready=listening.set_result, stop=stop))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        running = Carrier(dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", listening.result())), ledger, stop)
        try:
            yield running
        finally:
            stop.set()
            running.totals = await serving


class Sender:
    """A client with a plain loop above it: submit while there is room, acknowledge what comes unless told not to."""

    def __init__(self, card: CarrierCard, *, backoff: Backoff = QUICK, acknowledge: bool = True) -> None:
        self.acknowledge = acknowledge
        self.states: list[tuple[LinkState, str]] = []
        self.answers: dict[str, tuple[int, str | None]] = {}
        self.unanswered: dict[str, str] = {}
        self.inbound: list[Inbound] = []
        self.queue: list[str] = []
        self._changed = asyncio.Event()
        self.client = Client(
            card,
            on_answer=self._on_answer,
            on_unanswered=self._on_unanswered,
            on_inbound=self._on_inbound,
            on_state=self._on_state,
            backoff=backoff,
        )

    def submit(self, numbers: list[str]) -> None:
        self.queue += numbers
        self._fill()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def count(self, state: LinkState) -> int:
        return sum(1 for seen, _ in self.states if seen is state)

    def _fill(self) -> None:
        for _ in range(min(self.client.room, len(self.queue))):
            number = self.queue.pop(0)
            self.client.submit(TEMPLATE, number.encode(), number)
        self.client.flush()
        self._changed.set()

    def _on_answer(self, answers: list[tuple[object, int, str | None]]) -> None:
        self.answers |= {str(number): (status, message_id) for number, status, message_id in answers}
        self._fill()

    def _on_unanswered(self, contexts: list[object], reason: str) -> None:
        self.unanswered |= {str(number): reason for number in contexts}
        self._changed.set()

    def _on_inbound(self, inbounds: list[Inbound]) -> None:
        self.inbound += inbounds
        if self.acknowledge:
            self.client.acknowledge_all(inbounds)
        self._changed.set()

    def _on_state(self, state: LinkState, reason: str) -> None:
        self.states.append((state, reason))
        self._fill()


@contextlib.asynccontextmanager
async def sender(card: CarrierCard, *, backoff: Backoff = QUICK, acknowledge: bool = True) -> AsyncIterator[Sender]:
    """Run a client until the end of the block."""
    one = Sender(card, backoff=backoff, acknowledge=acknowledge)
    running = asyncio.create_task(one.client.run())
    try:
        yield one
    finally:
        await one.client.stop(0.0)
        await running


def numbers(count: int) -> list[str]:
    """Return so many different test numbers."""
    return [f"849{index:08d}" for index in range(count)]


@pytest.fixture
def rig() -> SimpleNamespace:
    """Hand the tools above to tests, which cannot import a conftest."""
    return SimpleNamespace(carrier=carrier, sender=sender, numbers=numbers, calm=CALM, template=TEMPLATE, patience_s=PATIENCE_S)

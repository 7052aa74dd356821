"""What a card promises beyond one connection to one host: tried once the test texts are through, nothing is sent on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from broadcaster.lang import Said
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.model import CarrierCard, Endpoint

TRY_AGAIN: Final = 0x64
"""RX_T_APPN: the carrier keeps a message and delivers it later."""

_UNBIND_S: Final = 1.0


async def further_binds(card: CarrierCard, clock: Callable[[], float]) -> tuple[int, Said | None]:
    """Open as many connections beside the first as the card allows; return how many held at once, and why there are no more."""
    async with AsyncExitStack() as held:
        for more in range(1, card.binds):
            refusal = await held.enter_async_context(connected(card, clock))
            if refusal is not None:
                return more, refusal
    return card.binds, None


async def further_hosts(card: CarrierCard, clock: Callable[[], float]) -> dict[Endpoint, Said | None]:
    """Bind to each alternate host in turn; return why it did not go, None where it did."""
    found: dict[Endpoint, Said | None] = {}
    for endpoint in card.alternates:
        async with connected(replace(card, endpoint=endpoint), clock) as refusal:
            found[endpoint] = refusal
    return found


@asynccontextmanager
async def connected(card: CarrierCard, clock: Callable[[], float]) -> AsyncIterator[Said | None]:
    """Hold one more connection to the card's first host; give why there is none. Whatever comes on it stays with the carrier."""

    settled = asyncio.Event()

    def decline(inbounds: list[Inbound]) -> None:
        client.acknowledge_all(inbounds, TRY_AGAIN)

    def on_state(state: LinkState, _reason: str) -> None:
        if state in (LinkState.BOUND, LinkState.STOPPED):
            settled.set()

    client = Client(
        card,
        on_answer=lambda _answers: None,
        on_unanswered=lambda _contexts, _reason: None,
        on_inbound=decline,
        on_state=on_state,
        clock=clock,
        keep_trying=False,
    )
    running = asyncio.create_task(client.run())
    try:
        # The client gives up by itself on a host or a bind that does not answer.
        await settled.wait()
        yield None if client.bound or client.ending is None else client.ending[1]
    finally:
        await client.stop(_UNBIND_S)
        await running

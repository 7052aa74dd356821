"""The clients that `link.py` measures, each a process of its own: `link_clients.py NAME PORT COUNT WINDOW`.

Each keeps a window of single-part UCS-2 messages of 70 characters full, takes the response and the receipt of each, and leaves when
it has all of them. `broadcaster+` also reads each receipt's text and finds the message that it speaks of, which aiosmpplib does too;
the others only hand it over. A client says so on its standard output as soon as its program, and not only its library, has them all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = "Cảnh báo: kẻ xấu giả danh công an gọi điện đe dọa. Không chuyển tiền!!"
OCTETS: Final = TEXT.encode("utf-16-be")
SENDER: Final = "SKHCN-QNG"
ACCOUNT: Final = "bench"
FIELDS: Final = {
    "source_addr_ton": 5,
    "source_addr_npi": 0,
    "source_addr": SENDER,
    "dest_addr_ton": 1,
    "dest_addr_npi": 1,
    "data_coding": 8,
    "registered_delivery": 1,
}


def number(index: int) -> str:
    return f"849{index:08d}"


def say_done() -> None:
    print("done", flush=True)


def give_up(contexts: list[object], reason: str) -> None:
    """End the run: the sink answers everything."""
    raise AssertionError(reason)


async def ours(port: int, count: int, window: int, *, read: bool = False) -> None:
    """Run the product's own client as the service does: sans-IO session, asyncio pump, events in batches."""
    from broadcaster.files.carriers import read_card
    from broadcaster.link.client import Client, Inbound, LinkState
    from broadcaster.model import Endpoint
    from broadcaster.service.memory import spare_collector
    from broadcaster.smpp import ReceiptState, SubmitTemplate, parse_receipt

    card = read_card(ROOT / "carriers" / "rehearsal" / "viettel.toml", {})
    card = dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", port), window=window)
    template = SubmitTemplate.build(source=SENDER, source_ton=5, short_message=OCTETS, data_coding=8)
    destinations = [number(index).encode() for index in range(count)]
    spare_collector()
    waiting: dict[str | None, int] = {}
    delivered = [False] * count
    following = iter(range(count))
    left = count
    done = asyncio.Event()

    def fill() -> None:
        for _, index in zip(range(client.room), following, strict=False):
            client.submit(template, destinations[index], index)
        client.flush()

    def on_answer(answers: list[Any]) -> None:
        for index, status, message_id in answers:
            assert status == 0
            if read:
                waiting[message_id] = index
        fill()

    def on_inbound(inbounds: list[Inbound]) -> None:
        nonlocal left
        if read:
            for _, _, body in inbounds:
                receipt = parse_receipt(body)  # type: ignore[arg-type]
                assert receipt is not None
                delivered[waiting.pop(receipt.message_id)] = receipt.state is ReceiptState.DELIVERED
        client.acknowledge_all(inbounds)
        left -= len(inbounds)
        if not left:
            done.set()

    def on_state(state: LinkState, reason: str) -> None:
        if state is LinkState.BOUND:
            fill()

    client = Client(card, on_answer=on_answer, on_unanswered=give_up, on_inbound=on_inbound, on_state=on_state)
    running = asyncio.create_task(client.run())
    await done.wait()
    say_done()
    assert all(delivered) or not read
    await client.stop(1.0)
    await running


def smpplib(port: int, count: int, window: int) -> None:
    """Run smpplib pipelined: fill the window, read, fill again; Nagle switched off, which it leaves on."""
    from smpplib.client import Client

    answered = receipts = following = 0

    def on_sent(pdu: Any, **_: Any) -> None:
        nonlocal answered
        answered += 1

    def on_received(pdu: Any, **_: Any) -> int:
        nonlocal receipts
        receipts += 1
        return 0

    client = Client("127.0.0.1", port, allow_unknown_opt_params=True)
    client.set_message_sent_handler(on_sent)
    client.set_message_received_handler(on_received)
    client.connect()
    client._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.bind_transceiver(system_id=ACCOUNT, password=ACCOUNT)
    while answered < count or receipts < count:
        while following < count and following - answered < window:
            client.send_message(destination_addr=number(following), short_message=OCTETS, **FIELDS)
            following += 1
        client.read_once()
        client.poll()
    say_done()
    client.unbind()
    client.disconnect()


async def aiosmpplib(port: int, count: int, window: int) -> None:
    """Run aiosmpplib as shipped; a broker that waits for a free place gives it the window it lacks."""
    from aiosmpplib import ESME, AbstractBroker, AbstractHook, DeliverSm, PhoneNumber, SubmitSm, SubmitSmResp
    from aiosmpplib.state import NPI, TON

    places = asyncio.Semaphore(window)
    done = asyncio.Event()
    answered = receipts = 0
    source = PhoneNumber(SENDER, TON.ALPHANUMERIC, NPI.UNKNOWN)

    class Hook(AbstractHook):
        async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
            """Nothing to do."""

        async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
            nonlocal answered, receipts
            if isinstance(smpp_message, SubmitSmResp):
                answered += 1
                places.release()
            elif isinstance(smpp_message, DeliverSm):
                receipts += 1
            if answered >= count and receipts >= count:
                done.set()

        async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
            raise error

    class Broker(AbstractBroker):
        following = 0

        async def enqueue(self, smpp_message: Any) -> None:
            """Nothing comes back."""

        async def dequeue(self) -> SubmitSm:
            if self.following == count:
                await asyncio.Event().wait()
            await places.acquire()
            index = self.following
            self.following += 1
            return SubmitSm(
                short_message=TEXT,
                source=source,
                destination=PhoneNumber(number(index), TON.INTERNATIONAL, NPI.ISDN),
                encoding="ucs2",
                registered_delivery=1,
                log_id=str(index),
            )

    esme = ESME("127.0.0.1", port, ACCOUNT, ACCOUNT, hook=Hook(), broker=Broker(), log_level="ERROR")
    running = asyncio.create_task(esme.start())
    await done.wait()
    say_done()
    # Its acknowledgements are written by a task of their own.
    await asyncio.sleep(0.2)
    await esme.stop()
    running.cancel()


async def smpp34(port: int, count: int, window: int) -> None:
    """Run smpp34's client as shipped: as many tasks as the window has places, and one that takes receipts."""
    import smpp34 as library

    client = library.Client("127.0.0.1", port, ACCOUNT, ACCOUNT, bind_type="TRX", window_size=window, inbound_capacity=2 * count)
    smsc = await client.connect()
    following = iter(range(count))

    async def submit() -> None:
        for index in following:
            response = await smsc.submit_sm(number(index), OCTETS, **FIELDS)
            assert response.is_success

    async def take() -> None:
        receipts = 0
        while receipts < count:
            receipts += isinstance(await smsc.next(), library.DeliverSmEvent)

    await asyncio.gather(take(), *(submit() for _ in range(window)))
    say_done()
    await smsc.unbind()


CLIENTS: Final[dict[str, Callable[[int, int, int], Any]]] = {
    "broadcaster": ours,
    "broadcaster+": functools.partial(ours, read=True),
    "smpplib": smpplib,
    "aiosmpplib": aiosmpplib,
    "smpp34": smpp34,
}


def main() -> None:
    name, *numbers = sys.argv[1:]
    outcome = CLIENTS[name](*map(int, numbers))
    if outcome is not None:
        asyncio.run(outcome)


if __name__ == "__main__":
    main()

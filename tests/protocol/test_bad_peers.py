"""Client and simulated carrier against peers that break the rules."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broadcaster.link.client import LinkState
from broadcaster.link.ledger import read_ledger
from broadcaster.model import CarrierCard, Endpoint
from broadcaster.smpp import Bind, BindKind, BindResp, DeliverSm, QuerySm, SubmitSm, Unbind, encode

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listening(peer: Peer, card: CarrierCard, context: ssl.SSLContext | None = None) -> tuple[asyncio.Server, CarrierCard]:
    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=context)
    return server, dataclasses.replace(card, endpoint=Endpoint("localhost", server.sockets[0].getsockname()[1]))


def bound_then(rest: bytes) -> Peer:
    """Accept the bind, write `rest`, read on."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(encode(BindResp(BindKind.TRANSCEIVER, "la"), 1) + rest)
        while await reader.read(65_536):
            pass
        writer.close()

    return peer


def run(card: CarrierCard, rig: SimpleNamespace, peer: Peer, until: Callable[[Any], Any], numbers: list[str] | None = None) -> Any:
    async def scenario() -> Any:
        server, reachable = await listening(peer, card)
        async with server, rig.sender(reachable) as sender:
            sender.submit(numbers or [])
            await sender.until(lambda: until(sender))
        return sender

    return asyncio.run(scenario())


def test_receipts_ahead_of_a_broken_stream_are_handed_on(
    card: CarrierCard, rig: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """F22: the stream is given up, what was understood is not, and acknowledging into the dead session harms nothing."""
    peer = bound_then(encode(DeliverSm("84912345678", "CANHBAO", b"TC"), 7) + b"HTTP/1.1 400 Bad Request\r\n\r\n")
    sender = run(card, rig, peer, lambda sender: sender.count(LinkState.LOST))
    assert sender.inbound[0].body.short_message == b"TC"
    assert not caplog.records
    assert sender.states[2][1].startswith("đầu bên kia sai giao thức")


def test_peer_that_unbinds_is_left_and_its_debt_reported(
    card: CarrierCard, rig: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F35."""
    monkeypatch.setattr("broadcaster.link.client.PEER_UNBOUND_WAIT_S", 0.05)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(encode(BindResp(BindKind.TRANSCEIVER, "la"), 1))
        await reader.readuntil(b"84900000000\0")
        writer.write(encode(Unbind(), 1))
        while await reader.read(65_536):
            pass
        writer.close()

    sender = run(card, rig, peer, lambda sender: sender.count(LinkState.LOST), rig.numbers(1))
    assert sender.unanswered == {"84900000000": "nhà mạng đã kết thúc phiên"}


def test_quiet_link_is_asked_whether_it_lives(card: CarrierCard, rig: SimpleNamespace) -> None:
    """F32: enquire_link goes out after the card's time, though nobody called for anything."""
    asked = bytearray()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(encode(BindResp(BindKind.TRANSCEIVER, "la"), 1))
        asked.extend(await reader.readexactly(16))
        writer.transport.abort()

    quick = dataclasses.replace(card, enquire_link_s=0.05)
    run(quick, rig, peer, lambda sender: sender.count(LinkState.LOST))
    assert asked[:12] == bytes((0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0))


def test_peer_that_never_answers_the_bind_can_still_be_stopped(card: CarrierCard, rig: SimpleNamespace) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    sender = run(card, rig, peer, lambda sender: sender.count(LinkState.CONNECTING))
    assert [state for state, _ in sender.states] == [LinkState.CONNECTING, LinkState.STOPPED]


def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "tls.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    return context


def test_untrusted_certificate_is_refused_with_its_reason(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F42: no plaintext, no bind, and the reason is named."""
    heard = bytearray()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65_536))
        writer.close()

    async def scenario() -> Any:
        server, reachable = await listening(peer, dataclasses.replace(card, tls=True), self_signed(tmp_path))
        async with server, rig.sender(reachable) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST))
        return sender

    sender = asyncio.run(scenario())
    assert sender.states[1][1].startswith("chứng chỉ TLS của localhost không được chấp nhận: tự ký")
    assert not heard


def test_carrier_without_tls_is_not_spoken_to_in_clear(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, Any]:
        async with (
            rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier,
            rig.sender(dataclasses.replace(carrier.card, tls=True)) as sender,
        ):
            await sender.until(lambda: sender.count(LinkState.LOST))
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert sender.states[1][1].startswith("không lập được TLS với 127.0.0.1")
    assert carrier.totals.binds == carrier.totals.refused_binds == 0


def test_simulator_survives_a_client_that_breaks_off(
    card: CarrierCard, rig: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What came ahead of the break is on the ledger, nothing fails, and the next client is served."""

    async def scenario() -> Any:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier:
            endpoint = carrier.card.endpoint
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(encode(Bind(BindKind.TRANSCEIVER, card.system_id, card.password.reveal()), 1))
            await reader.readexactly(16)
            broken = SubmitSm("CANHBAO", "84912345678", b"\x05\x00\x03\x2a\x02\x01TC", esm_class=0x40)
            writer.write(encode(broken, 2) + encode(QuerySm("1", "CANHBAO"), 3) + b"\0\0\0\1" * 4)
            while await reader.read(65_536):
                pass
            writer.close()
            async with rig.sender(carrier.card) as sender:
                sender.submit(rig.numbers(1))
                await sender.until(lambda: sender.answers)
        return carrier

    carrier = asyncio.run(scenario())
    first, second = (row for row in read_ledger(carrier.ledger) if row.event == "submit")
    assert (first.dst, first.part, first.parts, first.ref, first.session) == ("84912345678", 1, 2, 0x2A, 1)
    assert (second.dst, second.session) == ("84900000000", 2)
    assert not caplog.records

"""The reply number's own link over real sockets: bound to receive only, nothing acknowledged that is not durable in both places."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broadcaster.errors import InvalidFileError
from broadcaster.files.replies import read_reply_card
from broadcaster.model import Environment
from broadcaster.service.replies import ReplyLine
from broadcaster.smpp import BindKind, Command, DeliverSm, UnbindResp, encode
from broadcaster.smpp.bodies import BindResp
from broadcaster.store.journal import Journal, entry_of
from broadcaster.store.writer import Writer

CARD = """
number = "8066"
environment = "rehearsal"
cost_vnd = 500
channel = "smpp"
host = "reply.smpp.invalid"
system_id = "skhcn-qng"
"""
NUMBER = 84905000001


@pytest.fixture
def reply_card(tmp_path: Path):
    (tmp_path / "reply.toml").write_text(CARD, encoding="utf-8")
    card = read_reply_card(tmp_path / "reply.toml", {}, Environment.REHEARSAL)
    assert card is not None
    return card


def play(desk, rig, card, journal):
    """Let a carrier deliver one refusal; return what it heard, and who is refused live."""
    refused: set[bytes] = set()

    async def scenario():
        heard = rig.heard()
        answered = asyncio.Event()

        async def behave(reader, writer):
            command, _, sequence, _ = await rig.read_pdu(reader)
            heard.note(command, 0, sequence)
            writer.write(encode(BindResp(BindKind.RECEIVER, "peer"), sequence))
            writer.write(encode(DeliverSm(str(NUMBER), "8066", b"TC", 1, 1), 7))
            while True:
                command, status, sequence, _ = await rig.read_pdu(reader)
                heard.note(command, status, sequence)
                answered.set()
                if command == Command.UNBIND:
                    writer.write(encode(UnbindResp(), sequence))

        async with rig.peer(behave, card.account) as account:
            writer = Writer(desk.store)
            line = ReplyLine(account, writer=writer, vault=desk.vault, journal=journal, refused=refused, clock=desk)
            running = asyncio.create_task(line.run())
            async with asyncio.timeout(rig.patience_s):
                await answered.wait()
            row = line.row()
            await line.stop()
            await running
            await writer.close()
        return heard, row

    heard, row = asyncio.run(scenario())
    return heard, row, refused


def test_a_refusal_to_the_reply_number_is_in_force_and_in_the_journal_when_it_is_acknowledged(desk, rig, reply_card, tmp_path):
    journal = Journal(tmp_path / "refusals.journal")
    heard, row, refused = play(desk, rig, reply_card, journal)
    assert heard == [(Command.BIND_RECEIVER, 0, 1), (Command.DELIVER_SM_RESP, 0, 7), (Command.UNBIND, 0, 2)]
    assert desk.refusing() == {NUMBER}
    assert refused == {desk.vault.token(NUMBER)}
    assert [entry_of(body)["token"] for _, body in journal.read().bodies] == [desk.vault.token(NUMBER).hex()]
    assert (row.carrier, row.state) == ("reply", "bound")


def test_while_the_journal_cannot_be_written_the_carrier_keeps_the_refusal(desk, rig, reply_card, tmp_path, monkeypatch):
    monkeypatch.setattr("broadcaster.service.replies.REFUSE_AFTER_S", 0.0)
    heard, _, _ = play(desk, rig, reply_card, Journal(tmp_path / "gone" / "refusals.journal"))
    assert (Command.DELIVER_SM_RESP, 0x64, 7) in heard
    assert desk.refusing() == set()


@pytest.mark.parametrize(
    "text",
    [
        CARD.replace('host = "reply.smpp.invalid"\n', ""),
        CARD.replace("8066", "806"),
        CARD.replace("rehearsal", "live"),
        CARD.replace('"smpp"', '"carriers"'),
        CARD + 'tls_ca = "ca.pem"\n',
        CARD + 'password_env = "A"\npassword_file = "b"\n',
        CARD.replace("cost_vnd = 500\n", ""),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "reply.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidFileError):
        read_reply_card(tmp_path / "reply.toml", {"A": "secret"}, Environment.REHEARSAL)


def test_the_example_is_a_sound_card() -> None:
    card = read_reply_card(Path(__file__).parents[2] / "reply.example.toml", {}, Environment.REHEARSAL)
    assert card is not None
    assert (card.number, card.cost_vnd, card.account) == ("0000", 0, None)

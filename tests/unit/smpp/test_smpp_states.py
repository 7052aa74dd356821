"""The tables of who may say what when, and that a session obeys them."""

from __future__ import annotations

import struct
from itertools import product

import pytest

from broadcaster.smpp import (
    Bind,
    BindKind,
    BindResp,
    Body,
    CancelSm,
    Command,
    DataSm,
    DeliverSm,
    EnquireLink,
    LocalProtocolError,
    QuerySm,
    Role,
    Session,
    SessionState,
    SubmitSm,
    Unbind,
    encode,
)
from broadcaster.smpp.states import BOUND, RECEIVES, SENDS, SPOKEN, UNANSWERED

KIND_OF = {
    SessionState.BOUND_TX: BindKind.TRANSMITTER,
    SessionState.BOUND_RX: BindKind.RECEIVER,
    SessionState.BOUND_TRX: BindKind.TRANSCEIVER,
}
SAMPLES: dict[Command, Body] = {
    Command.SUBMIT_SM: SubmitSm("S", "1"),
    Command.DELIVER_SM: DeliverSm("1", "S"),
    Command.DATA_SM: DataSm("1", "S"),
    Command.QUERY_SM: QuerySm("1", "S"),
    Command.CANCEL_SM: CancelSm("1", "S", "1"),
    Command.ENQUIRE_LINK: EnquireLink(),
    Command.UNBIND: Unbind(),
}


def bound(state: SessionState) -> tuple[Session, Session]:
    esme, smsc = Session(Role.ESME), Session(Role.SMSC)
    if state is not SessionState.OPEN:
        esme.bind(Bind(KIND_OF[state], "esme", "secret"), 0.0)
        (event,) = smsc.receive(esme.outgoing(), 0.0)
        smsc.respond(event.sequence, BindResp(KIND_OF[state], "smsc"))  # type: ignore[union-attr]
        esme.receive(smsc.outgoing(), 0.0)
    assert esme.state is smsc.state is state
    return esme, smsc


CASES = list(product([SessionState.OPEN, *KIND_OF], SAMPLES))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("state", "command"), CASES)
def test_a_session_sends_what_the_table_lets_it(role: Role, state: SessionState, command: Command) -> None:
    esme, smsc = bound(state)
    session = esme if role is Role.ESME else smsc
    if command in SENDS[role][state]:
        session.request(SAMPLES[command], None, 0.0)
        assert session.outgoing()[4:8] == struct.pack(">I", command)
    else:
        with pytest.raises(LocalProtocolError, match="may not send"):
            session.request(SAMPLES[command], None, 0.0)
        assert session.outgoing() == b""


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("state", "command"), CASES)
def test_a_session_serves_what_the_table_lets_it(role: Role, state: SessionState, command: Command) -> None:
    esme, smsc = bound(state)
    session = esme if role is Role.ESME else smsc
    events = session.receive(encode(SAMPLES[command], 77), 0.0)
    answer = session.outgoing()
    if command in RECEIVES[role][state]:
        assert [type(event).__name__ for event in events] == ([] if command == Command.ENQUIRE_LINK else [EVENT_OF[command]])
    else:
        assert events == []
        refusal = (command | 0x80000000, 0x04) if command in SPOKEN[role] else (Command.GENERIC_NACK, 0x03)
        assert struct.unpack(">IIII", answer) == (16, *refusal, 77)


EVENT_OF = {
    Command.SUBMIT_SM: "Submitted",
    Command.DELIVER_SM: "Delivered",
    Command.DATA_SM: "Delivered",
    Command.QUERY_SM: "Requested",
    Command.CANCEL_SM: "Requested",
    Command.UNBIND: "PeerUnbound",
}


@pytest.mark.parametrize(("role", "other"), [(Role.ESME, Role.SMSC), (Role.SMSC, Role.ESME)])
@pytest.mark.parametrize("state", SessionState)
def test_whatever_one_may_send_the_other_takes(role: Role, other: Role, state: SessionState) -> None:
    assert SENDS[role][state] <= RECEIVES[other][state]


@pytest.mark.parametrize("table", [SENDS, RECEIVES])
@pytest.mark.parametrize("role", Role)
def test_every_state_has_its_row(table: object, role: Role) -> None:
    rows = SENDS if table is SENDS else RECEIVES
    assert set(rows[role]) == set(SessionState)
    assert rows[role][SessionState.CLOSED] == frozenset()
    assert all(Command.ENQUIRE_LINK in rows[role][state] for state in BOUND)


def test_commands_without_an_answer() -> None:
    assert frozenset({Command.ALERT_NOTIFICATION, Command.OUTBIND}) == UNANSWERED

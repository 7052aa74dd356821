"""Two sessions wired together without a network: the ordinary life of a link."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcaster.smpp import (
    AlertNotification,
    Answered,
    Bind,
    BindKind,
    BindRefused,
    BindRequested,
    BindResp,
    Bound,
    CancelSm,
    CancelSmResp,
    Command,
    DataSm,
    DataSmResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Event,
    GenericNack,
    Ignored,
    LocalProtocolError,
    Outbind,
    PeerUnbound,
    QuerySm,
    QuerySmResp,
    Requested,
    Responded,
    Role,
    Session,
    SessionState,
    SubmitSm,
    SubmitSmResp,
    Submitted,
    SubmitTemplate,
    Unbind,
    UnbindResp,
)

TEMPLATE = SubmitTemplate.build(source="CATINH", short_message=b"Canh bao", source_ton=5)
BIND = Bind(BindKind.TRANSCEIVER, "esme", "secret")
NUMBER = b"84901234567"


class Link:
    """An ESME and an SMSC with a wire that carries everything at once."""

    def __init__(self, kind: BindKind = BindKind.TRANSCEIVER, *, window: int = 10, first_sequence: int = 1) -> None:
        self.esme = Session(Role.ESME, window=window, first_sequence=first_sequence)
        self.smsc = Session(Role.SMSC, window=window)
        self.esme.bind(Bind(kind, "esme", "secret"), 0.0)
        (event,) = self.to_smsc()
        assert event == BindRequested(first_sequence, Bind(kind, "esme", "secret"))
        self.smsc.respond(first_sequence, BindResp(kind, "smsc"))
        assert self.to_esme() == [Bound("smsc")]

    def to_smsc(self) -> list[Event]:
        return self.smsc.receive(self.esme.outgoing(), 0.0)

    def to_esme(self) -> list[Event]:
        return self.esme.receive(self.smsc.outgoing(), 0.0)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (BindKind.TRANSMITTER, SessionState.BOUND_TX),
        (BindKind.RECEIVER, SessionState.BOUND_RX),
        (BindKind.TRANSCEIVER, SessionState.BOUND_TRX),
    ],
)
def test_bind(kind: BindKind, state: SessionState) -> None:
    link = Link(kind)
    assert link.esme.state is link.smsc.state is state


def test_a_refused_bind_may_be_tried_again() -> None:
    esme, smsc = Session(Role.ESME), Session(Role.SMSC)
    esme.bind(BIND, 0.0)
    with pytest.raises(LocalProtocolError, match="waits for its answer"):
        esme.bind(BIND, 0.0)
    smsc.receive(esme.outgoing(), 0.0)
    smsc.respond(1, BindResp(BIND.kind), 0x0E)
    assert esme.receive(smsc.outgoing(), 0.0) == [BindRefused(0x0E)]
    assert esme.state is smsc.state is SessionState.OPEN
    esme.bind(BIND, 0.0)
    assert [type(event) for event in smsc.receive(esme.outgoing(), 0.0)] == [BindRequested]


@pytest.mark.parametrize(("status", "told"), [(0x08, 0x08), (0, 0x0D)])
def test_a_bind_refused_by_generic_nack(status: int, told: int) -> None:
    esme, smsc = Session(Role.ESME), Session(Role.SMSC)
    esme.bind(BIND, 0.0)
    smsc.receive(esme.outgoing(), 0.0)
    smsc.respond(1, GenericNack(), status)
    assert esme.receive(smsc.outgoing(), 0.0) == [BindRefused(told)]
    assert smsc.state is SessionState.OPEN


def test_only_an_esme_binds_and_only_by_bind() -> None:
    with pytest.raises(LocalProtocolError, match="SMSC may not send"):
        Session(Role.SMSC).bind(BIND, 0.0)
    with pytest.raises(LocalProtocolError, match="sent by `bind`"):
        Session(Role.ESME).request(BIND, None, 0.0)
    link = Link()
    with pytest.raises(LocalProtocolError, match="when bound_trx"):
        link.esme.bind(BIND, 0.0)


def test_submit_and_answer() -> None:
    link = Link()
    assert link.esme.submit(TEMPLATE, NUMBER, "row 7", 0.0, reference=9) == 2
    assert (link.esme.room, link.esme.outstanding) == (9, 1)
    (event,) = link.to_smsc()
    assert isinstance(event, Submitted)
    assert event.sequence == 2
    assert (event.body.destination, event.body.short_message, event.body.tlvs) == (NUMBER.decode(), b"Canh bao", {0x204: b"\0\x09"})
    link.smsc.respond(2, SubmitSmResp("1a2b"))
    assert link.to_esme() == [Answered("row 7", 0, "1a2b")]
    assert (link.esme.room, link.esme.outstanding) == (10, 0)


@pytest.mark.parametrize(
    ("body", "status", "event"),
    [
        (SubmitSmResp(), 0x58, Answered("c", 0x58, None)),
        (SubmitSmResp(""), 0, Answered("c", 0, None)),
        (SubmitSmResp(), 0, Answered("c", 0, None)),
        (SubmitSmResp("7", {0x1D: b"why"}), 0, Answered("c", 0, "7")),
        (GenericNack(), 0x14, Answered("c", 0x14, None)),
        (GenericNack(), 0, Answered("c", 0xFF, None)),
    ],
)
def test_every_way_to_answer_a_submit(body: SubmitSmResp | GenericNack, status: int, event: Answered) -> None:
    link = Link()
    link.esme.submit(TEMPLATE, NUMBER, "c", 0.0)
    link.to_smsc()
    link.smsc.respond(2, body, status)
    assert link.to_esme() == [event]


def test_answers_in_any_order_find_their_contexts() -> None:
    link = Link(window=50)
    sequences = [link.esme.submit(TEMPLATE, NUMBER, row, 0.0) for row in range(50)]
    link.to_smsc()
    random.Random(7).shuffle(sequences)
    for sequence in sequences:
        link.smsc.respond(sequence, SubmitSmResp(f"id{sequence}"))
    assert link.to_esme() == [Answered(sequence - 2, 0, f"id{sequence}") for sequence in sequences]


def test_a_full_window_refuses_and_control_requests_pass() -> None:
    link = Link(window=2)
    link.esme.submit(TEMPLATE, NUMBER, 1, 0.0)
    link.esme.request(QuerySm("1", "CATINH"), 2, 0.0)
    for attempt in (lambda: link.esme.submit(TEMPLATE, NUMBER, 3, 0.0), lambda: link.esme.request(QuerySm("1", "C"), 3, 0.0)):
        with pytest.raises(LocalProtocolError, match="window of 2 is full"):
            attempt()
    link.esme.request(EnquireLink(), 4, 0.0)
    assert link.esme.room == 0


def test_many_submits_at_once_are_what_as_many_single_ones_are() -> None:
    one, many = Link(), Link()
    sequences = [one.esme.submit(TEMPLATE, NUMBER, row, 0.0, reference=row, part_reference=None) for row in range(10)]
    many.esme.submit_all([(TEMPLATE, NUMBER, row, row, None) for row in range(10)], 0.0)
    assert (many.esme.room, many.esme.next_deadline()) == (0, one.esme.next_deadline())
    assert many.to_smsc() == one.to_smsc()
    many.smsc.respond(sequences[-1], SubmitSmResp("last"))
    assert many.to_esme() == [Answered(9, 0, "last")]


def test_of_many_submits_those_before_the_one_that_does_not_fit_are_sent() -> None:
    link = Link(window=2)
    with pytest.raises(LocalProtocolError, match="destination"):
        link.esme.submit_all([(TEMPLATE, NUMBER, 1, None, None), (TEMPLATE, b"", 2, None, None)], 0.0)
    with pytest.raises(LocalProtocolError, match="window of 2 is full"):
        link.esme.submit_all([(TEMPLATE, NUMBER, row, None, None) for row in (3, 4)], 0.0)
    assert [event.body.destination for event in link.to_smsc() if isinstance(event, Submitted)] == [NUMBER.decode()] * 2
    with pytest.raises(LocalProtocolError, match="when open"):
        Session(Role.ESME).submit_all([], 0.0)


def test_a_refused_submit_leaves_no_trace() -> None:
    link = Link()
    with pytest.raises(LocalProtocolError, match="destination"):
        link.esme.submit(TEMPLATE, b"", 1, 0.0)
    assert (link.esme.outstanding, link.esme.outgoing()) == (0, b"")


def test_submit_needs_a_transmitting_bind() -> None:
    with pytest.raises(LocalProtocolError, match="when open"):
        Session(Role.ESME).submit(TEMPLATE, NUMBER, 1, 0.0)
    with pytest.raises(LocalProtocolError, match="when bound_rx"):
        Link(BindKind.RECEIVER).esme.submit(TEMPLATE, NUMBER, 1, 0.0)
    with pytest.raises(LocalProtocolError, match="SMSC may not send"):
        Link().smsc.submit(TEMPLATE, NUMBER, 1, 0.0)


def test_a_receipt_is_acknowledged_when_we_say_so() -> None:
    link = Link()
    body = DeliverSm("84901234567", "CATINH", b"id:1 stat:DELIVRD", esm_class=4)
    sequence = link.smsc.request(body, "receipt", 0.0)
    assert link.to_esme() == [Delivered(sequence, body)]
    assert link.esme.outgoing() == b""
    link.esme.respond(sequence, DeliverSmResp())
    assert link.to_smsc() == [Responded("receipt", DeliverSmResp(), 0)]


def test_data_sm_in_both_directions() -> None:
    link = Link()
    body = DataSm("84901234567", "CATINH", tlvs={0x424: b"x"})
    down = link.smsc.request(body, "down", 0.0)
    assert link.to_esme() == [Delivered(down, body)]
    link.esme.respond(down, DataSmResp())
    assert link.to_smsc() == [Responded("down", DataSmResp(), 0)]
    up = link.esme.request(body, "up", 0.0)
    assert link.to_smsc() == [Delivered(up, body)]
    link.smsc.respond(up, DataSmResp("77"))
    assert link.to_esme() == [Responded("up", DataSmResp("77"), 0)]


@pytest.mark.parametrize(
    ("body", "answer", "status"),
    [
        (QuerySm("1", "CATINH"), QuerySmResp("1", "", 2, 0), 0),
        (CancelSm("1", "CATINH", "84901234567"), CancelSmResp(), 0x11),
        (CancelSm("1", "CATINH", "84901234567"), GenericNack(), 0x03),
    ],
)
def test_questions_to_the_smsc(body: QuerySm | CancelSm, answer: QuerySmResp | CancelSmResp | GenericNack, status: int) -> None:
    link = Link()
    sequence = link.esme.request(body, "question", 0.0)
    assert link.to_smsc() == [Requested(sequence, body)]
    link.smsc.respond(sequence, answer, status)
    assert link.to_esme() == [Responded("question", answer, status)]


def test_a_nack_that_claims_success_is_none() -> None:
    link = Link()
    sequence = link.esme.request(QuerySm("1", "CATINH"), "question", 0.0)
    link.to_smsc()
    link.smsc.respond(sequence, GenericNack(), 0)
    assert link.to_esme() == [Responded("question", GenericNack(), 0xFF)]


def test_a_submit_sm_may_also_be_sent_as_a_whole() -> None:
    link = Link()
    sequence = link.esme.request(SubmitSm("CATINH", "84901234567", b"x"), "row", 0.0)
    link.to_smsc()
    link.smsc.respond(sequence, SubmitSmResp("5"))
    assert link.to_esme() == [Answered("row", 0, "5")]


@pytest.mark.parametrize("to_smsc", [True, False])
def test_enquire_link_is_answered_by_itself(to_smsc: bool) -> None:
    link = Link()
    asker, there, back = (link.esme, link.to_smsc, link.to_esme) if to_smsc else (link.smsc, link.to_esme, link.to_smsc)
    asker.request(EnquireLink(), "mine", 0.0)
    assert there() == []
    assert back() == [Responded("mine", EnquireLinkResp(), 0)]


def test_our_unbind_lets_receipts_through_until_it_is_answered() -> None:
    link = Link()
    link.smsc.request(DeliverSm("1", "2"), "late", 0.0)
    link.esme.request(Unbind(), "bye", 0.0)
    assert link.esme.state is SessionState.UNBINDING
    with pytest.raises(LocalProtocolError, match="when unbinding"):
        link.esme.submit(TEMPLATE, NUMBER, 1, 0.0)
    (event,) = link.to_esme()
    assert isinstance(event, Delivered)
    link.esme.respond(event.sequence, DeliverSmResp())
    # The SMSC reads unbind first and still takes the answer to its deliver_sm.
    assert link.to_smsc() == [PeerUnbound(), Responded("late", DeliverSmResp(), 0)]
    assert link.to_esme() == [Responded("bye", UnbindResp(), 0)]
    assert link.esme.state is SessionState.CLOSED


def test_the_peers_unbind_leaves_answers_outstanding() -> None:
    link = Link()
    for row in (1, 2):
        link.esme.submit(TEMPLATE, NUMBER, row, 0.0)
    link.to_smsc()
    link.smsc.request(Unbind(), "bye", 0.0)
    link.smsc.respond(2, SubmitSmResp("id"))
    assert link.to_esme() == [PeerUnbound(), Answered(1, 0, "id")]
    assert link.esme.state is SessionState.UNBINDING
    assert link.to_smsc() == [Responded("bye", UnbindResp(), 0)]
    assert link.esme.close() == [2]
    assert link.esme.close() == []


def test_crossing_unbinds_are_both_answered() -> None:
    link = Link()
    link.esme.request(Unbind(), "e", 0.0)
    link.smsc.request(Unbind(), "s", 0.0)
    ours, theirs = link.esme.outgoing(), link.smsc.outgoing()
    assert link.esme.receive(theirs, 0.0) == [PeerUnbound()]
    assert link.smsc.receive(ours, 0.0) == [PeerUnbound()]
    assert link.to_esme() == [Responded("e", UnbindResp(), 0)]
    assert link.to_smsc() == [Responded("s", UnbindResp(), 0)]


def test_commands_without_answer_are_only_told() -> None:
    link = Link()
    link.smsc.request(AlertNotification("84901234567", "CATINH"), None, 0.0)
    (event,) = link.to_esme()
    assert isinstance(event, Ignored)
    assert event.command == Command.ALERT_NOTIFICATION
    assert link.smsc.outstanding == 0
    smsc, esme = Session(Role.SMSC), Session(Role.ESME)
    smsc.request(Outbind("smsc", "secret"), None, 0.0)
    (event,) = esme.receive(smsc.outgoing(), 0.0)
    assert isinstance(event, Ignored)
    assert event.command == Command.OUTBIND
    assert "octets" in repr(event)
    assert "secret" not in repr(event)


@pytest.mark.parametrize(
    ("sequence", "body"),
    [(99, DeliverSmResp()), (2, DataSmResp()), (2, QuerySmResp("1")), (99, GenericNack()), (2, BindResp(BindKind.RECEIVER))],
)
def test_only_what_was_asked_is_answered(sequence: int, body: Any) -> None:
    link = Link()
    link.esme.receive(b"", 0.0)
    link.smsc.request(DeliverSm("1", "2"), None, 0.0)
    link.esme.receive(link.smsc.outgoing().replace(b"\0\0\0\1", b"\0\0\0\2", 1), 0.0)
    with pytest.raises(LocalProtocolError, match=f"under {sequence} waits"):
        link.esme.respond(sequence, body)


def test_a_number_the_peer_repeats_is_answered_as_often() -> None:
    link = Link()
    link.smsc.request(DeliverSm("1", "2"), None, 0.0)
    once = link.smsc.outgoing()
    assert len(link.esme.receive(once + once, 0.0)) == 2
    link.esme.respond(1, DeliverSmResp())
    link.esme.respond(1, DeliverSmResp())
    with pytest.raises(LocalProtocolError):
        link.esme.respond(1, DeliverSmResp())
    assert len(link.esme.outgoing()) == 2 * 17


def test_sequence_numbers_wrap() -> None:
    link = Link(first_sequence=0x7FFFFFFE)
    assert [link.esme.submit(TEMPLATE, NUMBER, row, 0.0) for row in range(3)] == [0x7FFFFFFF, 1, 2]


def test_nothing_after_the_end() -> None:
    link = Link()
    link.esme.close()
    assert link.esme.state is SessionState.CLOSED
    assert link.esme.receive(b"\0\0\0\1", 0.0) == []
    assert link.esme.tick(1e9) == []
    assert link.esme.next_deadline() is None
    with pytest.raises(LocalProtocolError, match="is closed"):
        link.esme.respond(1, DeliverSmResp())


@given(st.data())
@settings(max_examples=50)
def test_chunking_changes_nothing(data: st.DataObject) -> None:
    link = Link()
    for row in range(5):
        link.esme.submit(TEMPLATE, NUMBER, row, 0.0)
        link.smsc.request(DeliverSm("84901234567", "CATINH", bytes(row)), row, 0.0)
    link.to_smsc()
    for sequence in range(2, 7):
        link.smsc.respond(sequence, SubmitSmResp(str(sequence)))
    stream = link.smsc.outgoing()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    events = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in link.esme.receive(stream[start:end], 0.0)
    ]
    assert [event.context for event in events if isinstance(event, Answered)] == list(range(5))
    assert [len(event.body.short_message) for event in events if isinstance(event, Delivered)] == list(range(5))

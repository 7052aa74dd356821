"""Peers that misbehave: every wrong thing has one right outcome, and no other error than RemoteProtocolError."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcaster.smpp import (
    Answered,
    Bind,
    BindKind,
    BindRequested,
    BindResp,
    Bound,
    Command,
    DataSmResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    GenericNack,
    Ignored,
    Late,
    LinkDead,
    PeerUnbound,
    Quarantined,
    QuerySm,
    QuerySmResp,
    RemoteProtocolError,
    Responded,
    Role,
    Session,
    SessionState,
    SubmitSmResp,
    SubmitTemplate,
    TimedOut,
    Timers,
    Unbind,
    UnbindResp,
    Unknown,
    encode,
)
from broadcaster.smpp import window as smpp_window

TEMPLATE = SubmitTemplate.build(source="CATINH", short_message=b"Canh bao")
NUMBER = b"84901234567"
BIND = Bind(BindKind.TRANSCEIVER, "esme", "secret")
TIMERS = Timers(enquire_link_s=30, enquire_response_s=10, response_timeout_s=60, bind_timeout_s=15, pdu_read_timeout_s=10)


def header(command: int, sequence: int, status: int = 0, length: int = 16) -> bytes:
    return struct.pack(">IIII", length, command, status, sequence)


def raw(command: int, sequence: int, body: bytes, status: int = 0) -> bytes:
    return header(command, sequence, status, 16 + len(body)) + body


def esme(now: float = 0.0, window: int = 10) -> Session:
    """A bound ESME whose next sequence number is 2."""
    session = Session(Role.ESME, timers=TIMERS, window=window)
    session.bind(BIND, now)
    assert session.receive(encode(BindResp(BIND.kind, "smsc"), 1), now) == [Bound("smsc")]
    session.outgoing()
    return session


def smsc(now: float = 0.0) -> Session:
    session = Session(Role.SMSC, timers=TIMERS)
    session.receive(encode(BIND, 1), now)
    session.respond(1, BindResp(BIND.kind, "smsc"))
    session.outgoing()
    return session


def test_pdus_before_bind_resp_are_not_taken_for_it() -> None:
    session = Session(Role.ESME)
    session.bind(BIND, 0.0)
    session.outgoing()
    deliver = DeliverSm("84901234567", "CATINH", b"TC")
    early = encode(EnquireLink(), 1) + encode(deliver, 1) + encode(SubmitSmResp("x"), 9)
    events = session.receive(early, 0.0)
    assert events == [Delivered(1, deliver), Ignored(Command.SUBMIT_SM_RESP, 0, 9, b"x\0")]
    assert session.state is SessionState.OPEN
    assert session.outgoing() == header(Command.ENQUIRE_LINK_RESP, 1)
    session.respond(1, DeliverSmResp())
    assert session.receive(encode(BindResp(BIND.kind, "smsc"), 1), 0.0) == [Bound("smsc")]


def test_a_bind_resp_with_another_number_binds_nothing() -> None:
    session = Session(Role.ESME)
    session.bind(BIND, 0.0)
    (event,) = session.receive(encode(BindResp(BIND.kind, "smsc"), 5), 0.0)
    assert isinstance(event, Ignored)
    assert session.state is SessionState.OPEN


@pytest.mark.parametrize("body", [b"", b"no NUL", b"smsc\0\x02\x10"])
def test_a_bind_resp_without_a_sound_body_still_binds(body: bytes) -> None:
    session = Session(Role.ESME)
    session.bind(BIND, 0.0)
    assert session.receive(raw(Command.BIND_TRANSCEIVER_RESP, 1, body), 0.0) == [Bound("")]
    assert session.state is SessionState.BOUND_TRX


def test_no_bind_resp() -> None:
    session = Session(Role.ESME, timers=TIMERS)
    assert session.next_deadline() is None
    session.bind(BIND, 100.0)
    assert session.next_deadline() == 115.0
    assert session.tick(114.9) == []
    assert session.tick(115.0) == [LinkDead("bind was not answered in time")]
    assert session.state is SessionState.CLOSED
    assert session.close() == []


def test_an_smsc_waits_for_the_bind_but_not_while_it_thinks() -> None:
    session = Session(Role.SMSC, timers=TIMERS)
    session.tick(0.0)
    assert session.next_deadline() == 15.0
    session.receive(encode(BIND, 1), 14.0)
    assert session.next_deadline() is None
    assert session.tick(60.0) == []
    session.respond(1, BindResp(BIND.kind), 0x0E)
    session.tick(61.0)
    assert [type(event) for event in session.tick(76.0)] == [LinkDead]


def test_a_second_bind_is_refused_as_already_bound() -> None:
    session = Session(Role.SMSC)
    (event,) = session.receive(encode(BIND, 1) + encode(BIND, 2), 0.0)
    assert isinstance(event, BindRequested)
    assert session.outgoing() == header(Command.BIND_TRANSCEIVER_RESP, 2, 0x05)
    session.respond(1, BindResp(BIND.kind, "smsc"))
    session.outgoing()
    assert session.receive(encode(BIND, 3), 0.0) == []
    assert session.outgoing() == header(Command.BIND_TRANSCEIVER_RESP, 3, 0x05)


def test_a_lost_stream_is_nacked_and_dead_and_loses_no_answer() -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "answered", 0.0)
    session.submit(TEMPLATE, NUMBER, "open", 0.0)
    session.outgoing()
    with pytest.raises(RemoteProtocolError, match="1213486160") as caught:
        session.receive(encode(SubmitSmResp("7"), 2) + b"HTTP/1.1 400 Bad Request", 0.0)
    assert caught.value.before == [Answered("answered", 0, "7")]
    assert caught.value.reason == str(caught.value)
    assert session.outgoing() == header(Command.GENERIC_NACK, 0, 0x02)
    assert session.state is SessionState.CLOSED
    assert session.receive(encode(SubmitSmResp("8"), 3), 0.0) == []
    assert session.close() == ["open"]


def test_a_pdu_that_stops_in_its_middle() -> None:
    session = esme()
    pdu = encode(DeliverSm("1", "2", bytes(100)), 5)
    session.receive(pdu[:20], 0.0)
    assert session.next_deadline() == 10.0
    session.receive(pdu[20:30], 9.0)
    assert session.tick(18.9) == []
    assert session.tick(19.0) == [LinkDead("a PDU stopped in its middle")]


def test_a_dripping_pdu_is_kept() -> None:
    session = esme()
    pdu = encode(DeliverSm("1", "2", b"slow"), 5)
    events = []
    for n, octet in enumerate(pdu):
        events += session.tick(n * 9.0) + session.receive(bytes([octet]), n * 9.0)
    assert events == [Delivered(5, DeliverSm("1", "2", b"slow"))]


@pytest.mark.parametrize("body", [b"12345678", b"\0", b"\0garbage", b"i" * 256 + b"\0"])
def test_an_unreadable_id_is_an_acceptance_without_id(body: bytes) -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "c", 0.0)
    assert session.receive(raw(Command.SUBMIT_SM_RESP, 2, body), 0.0) == [Answered("c", 0, None)]


@pytest.mark.parametrize(("command", "answer"), [(Command.DELIVER_SM, DeliverSmResp()), (Command.DATA_SM, DataSmResp())])
def test_a_broken_receipt_is_quarantined(command: Command, answer: DeliverSmResp | DataSmResp) -> None:
    session = esme()
    events = session.receive(raw(command, 9, b"84901234567") + encode(DeliverSm("1", "2"), 10), 0.0)
    broken, good = events
    assert isinstance(broken, Quarantined)
    assert (broken.sequence, broken.raw, broken.command) == (9, b"84901234567", command)
    assert "84901234567" not in repr(broken)
    assert good == Delivered(10, DeliverSm("1", "2"))
    session.respond(9, answer, 0x65)
    assert session.outgoing() == encode(answer, 9, 0x65)


@pytest.mark.parametrize("command", [Command.SUBMIT_SM, Command.QUERY_SM, Command.CANCEL_SM])
def test_a_broken_request_is_refused_and_the_stream_goes_on(command: Command) -> None:
    session = smsc()
    assert session.receive(raw(command, 9, b"\xff") + encode(EnquireLink(), 10), 0.0) == []
    assert session.outgoing() == header(command | 0x80000000, 9, 0x02) + header(Command.ENQUIRE_LINK_RESP, 10)


def test_a_broken_bind_is_refused() -> None:
    session = Session(Role.SMSC)
    assert session.receive(raw(Command.BIND_RECEIVER, 1, b"x"), 0.0) == []
    assert session.outgoing() == header(Command.BIND_RECEIVER_RESP, 1, 0x02)
    assert [type(event) for event in session.receive(encode(BIND, 2), 0.0)] == [BindRequested]


def test_a_response_whose_body_cannot_be_read_is_passed_on_raw() -> None:
    session = esme()
    session.request(QuerySm("1", "S"), "q", 0.0)
    (event,) = session.receive(raw(Command.QUERY_SM_RESP, 2, b"x"), 0.0)
    assert event == Responded("q", Unknown(Command.QUERY_SM_RESP, b"x"), 0)


@pytest.mark.parametrize("command", [0, 0x0A, 0x10, 0x104, 0x00010200, 0x7FFFFFFF, Command.REPLACE_SM, Command.SUBMIT_MULTI])
def test_an_unknown_request_is_nacked(command: int) -> None:
    session = esme()
    assert session.receive(raw(command, 0xFFFFFFFF, b"?"), 0.0) == []
    assert session.outgoing() == header(Command.GENERIC_NACK, 0xFFFFFFFF, 0x03)


@pytest.mark.parametrize("command", [0x8000000A, 0x80010200, 0xFFFFFFFF])
def test_an_unknown_response_is_only_told_and_answers_nothing(command: int) -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "c", 0.0)
    session.outgoing()
    assert session.receive(raw(command, 2, b"?"), 0.0) == [Ignored(command, 0, 2, b"?")]
    assert (session.outgoing(), session.outstanding) == (b"", 1)


@pytest.mark.parametrize("sequence", [0, 99, 0x80000000])
def test_a_nack_without_our_number_is_a_suspicion_only(sequence: int) -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "c", 0.0)
    assert session.receive(encode(GenericNack(), sequence, 0x02), 0.0) == [Ignored(Command.GENERIC_NACK, 0x02, sequence, b"")]
    assert session.outstanding == 1


@pytest.mark.parametrize(
    ("answer", "status", "late"),
    [
        (SubmitSmResp("id"), 0, Late("c", 0, "id")),
        (SubmitSmResp(), 0x58, Late("c", 0x58, None)),
        (SubmitSmResp(), 0, Late("c", 0, None)),
        (GenericNack(), 0x02, Late("c", 0x02, None)),
        (GenericNack(), 0, Late("c", 0xFF, None)),
    ],
)
def test_f39_a_late_answer_finds_its_message_once(answer: SubmitSmResp | GenericNack, status: int, late: Late) -> None:
    session = esme()
    sequence = session.submit(TEMPLATE, NUMBER, "c", 0.0)
    assert session.tick(60.0) == [TimedOut("c")]
    assert (session.outstanding, session.room) == (0, 10)
    assert session.receive(encode(answer, sequence, status), 61.0) == [late]
    (again,) = session.receive(encode(answer, sequence, status), 62.0)
    assert isinstance(again, Ignored)
    assert session.close() == []


def test_f39_other_late_answers_are_only_noted() -> None:
    session = esme()
    sequence = session.request(QuerySm("1", "CATINH"), "question", 0.0)
    assert session.tick(60.0) == [TimedOut("question")]
    events = session.receive(encode(QuerySmResp("1"), sequence) + encode(GenericNack(), sequence, 3), 61.0)
    assert [type(event) for event in events] == [Ignored, Ignored]


def test_f39_the_newest_expired_messages_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smpp_window, "MOST_EXPIRED", 2)
    session = esme()
    sequences = [session.submit(TEMPLATE, NUMBER, row, 0.0) for row in range(3)]
    session.tick(60.0)
    events = session.receive(b"".join(encode(SubmitSmResp("id"), sequence) for sequence in sequences), 61.0)
    assert [type(event) for event in events] == [Ignored, Late, Late]
    assert events[1:] == [Late(1, 0, "id"), Late(2, 0, "id")]


def test_f39_a_number_whose_answer_may_still_come_is_not_given_out_again() -> None:
    slots = smpp_window.Window(2, smpp_window.MOST_SEQUENCE)
    slots.put(slots.reserve(), Command.SUBMIT_SM_RESP, "first", 1.0)
    slots.put(slots.reserve(), Command.SUBMIT_SM_RESP, "second", 1.0)
    assert slots.expire(1.0) == ["first", "second"]
    slots._next = smpp_window.MOST_SEQUENCE
    assert slots.reserve() == 2


def test_the_first_of_two_answers_counts() -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "c", 0.0)
    first, second = session.receive(encode(SubmitSmResp("a"), 2) + encode(SubmitSmResp("b"), 2), 0.0)
    assert first == Answered("c", 0, "a")
    assert isinstance(second, Ignored)


@pytest.mark.parametrize("answer", [DeliverSmResp(), UnbindResp(), BindResp(BIND.kind)])
def test_an_answer_of_the_wrong_type_ends_the_session(answer: DeliverSmResp) -> None:
    session = esme()
    session.submit(TEMPLATE, NUMBER, "a", 0.0)
    session.submit(TEMPLATE, NUMBER, "b", 0.0)
    with pytest.raises(RemoteProtocolError, match="F27") as caught:
        session.receive(encode(SubmitSmResp("1"), 3) + encode(answer, 2), 0.0)
    assert caught.value.before == [Answered("b", 0, "1")]
    assert session.state is SessionState.CLOSED
    assert session.close() == ["a"]


def test_submit_sm_resp_for_another_request_ends_the_session() -> None:
    session = esme()
    session.request(QuerySm("1", "S"), "q", 0.0)
    with pytest.raises(RemoteProtocolError):
        session.receive(encode(SubmitSmResp("1"), 2), 0.0)
    assert session.close() == ["q"]


def test_what_follows_unbind_resp_is_not_read() -> None:
    session = esme()
    session.request(Unbind(), "bye", 0.0)
    stream = encode(UnbindResp(), 2) + encode(DeliverSm("1", "2"), 5)
    assert session.receive(stream, 0.0) == [Responded("bye", UnbindResp(), 0)]


def test_an_unbind_before_the_bind_is_answered() -> None:
    session = Session(Role.ESME)
    session.bind(BIND, 0.0)
    session.outgoing()
    assert session.receive(encode(Unbind(), 1), 0.0) == [PeerUnbound()]
    assert session.outgoing() == header(Command.UNBIND_RESP, 1)


def test_two_unanswered_enquire_links_are_a_dead_link() -> None:
    session = esme(now=100.0)
    assert session.next_deadline() == 130.0
    assert session.tick(129.9) == []
    assert session.outgoing() == b""
    assert session.tick(130.0) == []
    assert session.outgoing() == header(Command.ENQUIRE_LINK, 2)
    assert session.next_deadline() == 140.0
    assert session.tick(140.0) == []
    assert session.outgoing() == header(Command.ENQUIRE_LINK, 3)
    assert session.tick(150.0) == [LinkDead("two enquire_links in a row were not answered")]
    assert session.close() == []


def test_anything_received_is_a_sign_of_life() -> None:
    session = esme()
    session.tick(30.0)
    session.tick(40.0)
    session.receive(encode(DeliverSm("1", "2"), 5), 45.0)
    assert session.next_deadline() == 75.0
    session.tick(75.0)
    assert session.outgoing()[-16:] == header(Command.ENQUIRE_LINK, 4)
    assert session.receive(encode(GenericNack(), 4, 3), 76.0) == []
    assert session.tick(105.9) == []


def test_sending_is_no_sign_of_life() -> None:
    session = esme()
    for second in range(30):
        session.submit(TEMPLATE, NUMBER, second, float(second)) if second < 10 else None
    session.outgoing()
    session.tick(30.0)
    assert session.outgoing() == header(Command.ENQUIRE_LINK, 12)


def test_an_answered_enquire_link_is_our_own_business() -> None:
    session = esme()
    session.tick(30.0)
    assert session.receive(raw(Command.ENQUIRE_LINK_RESP, 2, b""), 31.0) == []
    assert session.next_deadline() == 61.0


def test_an_enquire_link_left_open_expires_quietly() -> None:
    session = esme()
    session.tick(30.0)
    session.receive(encode(DeliverSm("1", "2"), 5), 31.0)
    assert session.tick(90.0) == []
    assert session.close() == []


def test_one_answer_that_never_comes_frees_its_slot() -> None:
    session = esme(window=2)
    session.submit(TEMPLATE, NUMBER, "lost", 0.0)
    session.submit(TEMPLATE, NUMBER, "slow", 20.0)
    session.receive(encode(EnquireLink(), 9), 55.0)
    assert session.next_deadline() == 60.0
    assert session.tick(60.0) == [TimedOut("lost")]
    assert session.room == 1
    assert session.state is SessionState.BOUND_TRX
    assert session.receive(encode(SubmitSmResp("ok"), 3), 61.0) == [Answered("slow", 0, "ok")]


def test_an_unanswered_unbind_times_out_without_enquiries() -> None:
    session = esme()
    session.request(Unbind(), "bye", 0.0)
    session.outgoing()
    assert session.next_deadline() == 60.0
    assert session.tick(45.0) == []
    assert session.outgoing() == b""
    assert session.tick(60.0) == [TimedOut("bye")]


def test_timers_can_be_switched_off() -> None:
    off = float("inf")
    session = Session(Role.SMSC, timers=Timers(off, off, off, off, off))
    session.tick(0.0)
    assert session.next_deadline() is None
    session.receive(encode(BIND, 1)[:5], 0.0)
    assert session.tick(1e9) == []


@given(st.lists(st.binary(max_size=80), max_size=8), st.sampled_from(Role))
@settings(max_examples=300)
def test_noise_gives_events_or_a_remote_protocol_error(chunks: list[bytes], role: Role) -> None:
    session = esme() if role is Role.ESME else smsc()
    try:
        for chunk in chunks:
            session.receive(chunk, 0.0)
    except RemoteProtocolError:
        assert session.state is SessionState.CLOSED


@given(
    st.lists(
        st.tuples(st.sampled_from([*map(int, Command)]), st.integers(0, 5), st.integers(0, 300), st.binary(max_size=60)), max_size=8
    )
)
@settings(max_examples=400)
def test_sound_frames_with_any_body_give_events_or_a_remote_protocol_error(pdus: list[tuple[int, int, int, bytes]]) -> None:
    for session in (esme(), smsc()):
        if session.role is Role.ESME:
            session.submit(TEMPLATE, NUMBER, "a", 0.0)
            session.request(QuerySm("1", "S"), "b", 0.0)
        events = []
        try:
            for command, sequence, status, body in pdus:
                events += session.receive(raw(command, sequence, body, status), 0.0)
        except RemoteProtocolError as error:
            events += error.before
            assert session.state is SessionState.CLOSED
        told = [event.context for event in events if isinstance(event, Answered | Responded)]
        assert sorted(told + session.close()) == (["a", "b"] if session.role is Role.ESME else [])

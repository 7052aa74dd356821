"""One check of a connection against simulated carriers over loopback, good and bad: what it finds, what it calls the cause."""

import asyncio
import contextlib
import datetime as dt
import functools
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, RefusedError
from broadcaster.files.standing import read_check_texts
from broadcaster.flow import check, check_report
from broadcaster.flow.check import Seen, Trial
from broadcaster.flow.check_card import filled_in, without_numbers
from broadcaster.flow.check_gate import plan
from broadcaster.flow.check_report import Step, accepted_tps, document, judge, spread
from broadcaster.link.faults import fault
from broadcaster.link.ledger import read_ledger
from broadcaster.link.part import read_part
from broadcaster.link.pump import Pump
from broadcaster.link.simulator import serve
from broadcaster.link.temperament import IdForm, ReceiptBy, SpanMs, Temperament, read_temperament
from broadcaster.model import CarrierCode, Endpoint, Environment, IdRule, Msisdn
from broadcaster.smpp import (
    BindKind,
    BindRequested,
    BindResp,
    CancelSmResp,
    DeliverSm,
    Requested,
    Responded,
    Role,
    Session,
    SubmitSmResp,
    Submitted,
)
from broadcaster.smpp.pdu import encode
from broadcaster.smpp.timers import Timers

REPOSITORY = Path(__file__).parents[2]
TEXTS = read_check_texts(REPOSITORY / "templates", Environment.REHEARSAL)
QUICK = {"receipt_delay_ms": SpanMs(0, 10)}
NUMBERS = (Msisdn(84_961_000_001), Msisdn(84_961_000_002))
PARTS = 16
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(check, "START_HOLD_NS", 0)
    monkeypatch.setattr(check, "GENTLE_TPS", 500)
    monkeypatch.setattr(check, "LINGER_S", 0.1)


@pytest.fixture
def card(cards):
    return replace(cards["viettel"], test_numbers=NUMBERS, tps=1000, response_timeout_s=5.0)


class Check:
    """What one check left behind."""

    def __init__(self, card, seen, *, with_tps=False, errand=None):
        self.card = card
        self.seen: Seen = seen
        self.report = judge(errand or plan(card, "SKHCN-QNG", TEXTS, with_tps=with_tps, now=AT), seen, AT, with_tps=with_tps)

    def finding(self, name):
        return next(item for item in self.report.findings if item.id == name)

    @property
    def cause(self):
        return self.finding("link").said.en


AT = dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC)


async def tried(card, *, with_tps=False, wait_s=10.0, reserve=lambda: 7):
    errand = plan(card, "SKHCN-QNG", TEXTS, with_tps=with_tps, now=AT)
    trial = Trial(errand, reserve=reserve, wait_s=wait_s, tell=lambda _said: None)
    async with asyncio.timeout(PATIENCE_S):
        return Check(card, await trial.run(), with_tps=with_tps, errand=errand)


def run_check(card, temperament, ledger, *, host="127.0.0.1", tls_ca=None, **options):
    """Check a simulated carrier; the card names its port. Returns the check and the carrier's totals."""

    async def go():
        stop = asyncio.Event()
        listening = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(card, temperament, ledger, port=0, ready=listening.set_result, stop=stop))
        done = await tried(replace(card, endpoint=Endpoint(host, await listening), tls_ca=tls_ca), **options)
        stop.set()
        return done, await serving

    return asyncio.run(go())


@contextlib.asynccontextmanager
async def listening(connected, **options):
    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


# -- what a good connection shows


@pytest.mark.parametrize(
    ("response", "receipt", "by", "rule"),
    [
        (IdForm.DECIMAL, IdForm.DECIMAL, ReceiptBy.BOTH, ("dec", "dec")),
        (IdForm.HEX, IdForm.DECIMAL, ReceiptBy.TEXT, ("hex", "dec")),
        (IdForm.DECIMAL, IdForm.HEX, ReceiptBy.TLV, ("dec", "hex")),
        (IdForm.DECIMAL, IdForm.PADDED, ReceiptBy.TEXT, ("dec", "dec")),
        (IdForm.UUID, IdForm.UUID, ReceiptBy.TLV, ("raw", "raw")),
    ],
)
def test_f02_every_dialect_is_found_and_a_wrong_card_is_told(card, tmp_path, response, receipt, by, rule):
    mood = Temperament(response_id=response, receipt_id=receipt, receipt_by=by, **QUICK)
    found, totals = run_check(replace(card, ids=IdRule(*rule)), mood, tmp_path / "l.jsonl")
    assert found.report.exit_code == 0
    assert (totals.binds, totals.submits, totals.acknowledged) == (1, PARTS, PARTS)
    assert found.finding("ids").ok
    assert found.report.form.where == by
    assert len(found.seen.enquiries_s) == check.ENQUIRIES
    wrong = ("hex", "dec") if rule != ("hex", "dec") else ("dec", "dec")
    other, _ = run_check(replace(card, ids=IdRule(*wrong)), mood, tmp_path / "m.jsonl")
    if response is IdForm.UUID:
        # No rule touches such ids, so no card can be wrong about them.
        assert other.finding("ids").ok is True
        return
    assert other.finding("ids").ok is False
    assert f'response_id = "{rule[0]}", receipt_id = "{rule[1]}"' in other.finding("ids").said.en
    assert other.report.exit_code == 3


@pytest.mark.parametrize("code", ["viettel", "vinaphone", "mobifone", "vietnamobile", "gmobile"])
def test_the_rehearsal_cards_fit_the_simulated_carriers(cards, tmp_path, code):
    mood = replace(read_temperament(REPOSITORY / "carriers" / "simulated" / f"{code}.toml"), response_delay_ms=SpanMs(0, 5), **QUICK)
    found, _ = run_check(cards[CarrierCode(code)], mood, tmp_path / "l.jsonl", wait_s=1.0)
    assert {item.id: item.ok for item in found.report.findings if item.id in ("link", "submit", "ids")} == {
        "link": True,
        "submit": True,
        "ids": True,
    }


def test_the_four_texts_reach_the_test_numbers_and_nobody_else(card, tmp_path):
    found, _ = run_check(card, Temperament(**QUICK), tmp_path / "l.jsonl")
    rows = [row for row in read_ledger(tmp_path / "l.jsonl") if row.event == "submit"]
    assert {row.dst for row in rows} == set(map(str, NUMBERS))
    assert {row.src for row in rows} == {"SKHCN-QNG"}
    for number in NUMBERS:
        mine = [(row.part, row.parts) for row in rows if row.dst == str(number)]
        assert mine == [(1, 1), (1, 1), (1, 3), (2, 3), (3, 3), (1, 3), (2, 3), (3, 3)]
        assert len({row.ref for row in rows if row.dst == str(number) and row.parts == 3}) == 2
    assert found.report.answers.parts == found.report.receipts.parts == PARTS
    shown = document(found.report)
    assert all("****" in item["number"] for item in shown["texts"])
    assert "8496100000" not in repr(shown) + repr(found.seen)


def test_what_the_card_cannot_carry_is_not_sent(card, tmp_path):
    found, totals = run_check(replace(card, allow_unicode=False, max_parts=2), Temperament(**QUICK), tmp_path / "l.jsonl")
    assert totals.submits == 2
    assert set(found.report.errand.skipped) == {"accented-1", "accented-3", "unaccented-3"}
    with pytest.raises(ConfigurationError):
        plan(replace(card, test_numbers=()), "X", TEXTS, with_tps=False, now=AT)
    with pytest.raises(ConfigurationError):
        plan(replace(card, forbidden="nT"), "X", TEXTS, with_tps=False, now=AT)
    with pytest.raises(ConfigurationError, match="accented-3"):
        plan(card, "X", {"accented-3": "ngắn"}, with_tps=False, now=AT)


def test_missing_receipts_are_told_with_what_came(card, tmp_path):
    found, _ = run_check(card, Temperament(missing_share=1.0), tmp_path / "l.jsonl", wait_s=0.1)
    assert (found.finding("receipts").ok, found.finding("ids").ok, found.finding("receipt-form").ok) == (False, None, None)
    assert found.finding("receipts").said.en == "0 of 16 parts got a final receipt"
    assert found.report.exit_code == 3
    none, _ = run_check(replace(card, receipt_means="none"), Temperament(**QUICK), tmp_path / "m.jsonl")
    assert (none.finding("receipts").ok, none.report.exit_code) == (None, 0)


def test_refused_texts_are_named_with_their_status(card, tmp_path):
    found, _ = run_check(card, Temperament(refuse_share=1.0, refuse_status=0x0A, **QUICK), tmp_path / "l.jsonl", with_tps=True)
    assert found.finding("submit").ok is False
    assert any("RINVSRCADR" in detail.en for detail in found.finding("submit").details)
    assert found.finding("tps").ok is None


# -- the rate


def test_f50_the_rate_is_climbed_to_the_card_and_never_above(card, tmp_path, monkeypatch):
    # A busy machine may not reach the rate; what that means is the next test's.
    monkeypatch.setattr(check_report, "ENOUGH_OF_A_STEP", 0)
    found, totals = run_check(replace(card, tps=20), Temperament(**QUICK), tmp_path / "l.jsonl", with_tps=True)
    assert found.report.errand.count == 8 + 5 + 10 + 15 + 20
    assert totals.submits == PARTS + 5 + 10 + 15 + 20
    assert found.finding("tps").ok is True
    times = sorted(part.sent_s for part in found.seen.parts)
    assert max(sum(start <= other < start + 1 for other in times) for start in times) <= 20


@pytest.mark.parametrize(
    ("accepted", "reached_tps", "best"), [(10, 9.0, 10), (10, 8.9, None), (9, 10.0, None)], ids=["enough", "too slow", "one refused"]
)
def test_a_rate_counts_when_it_was_reached_and_taken_in_full(accepted, reached_tps, best):
    assert accepted_tps([Step(10, 10, accepted, 0, reached_tps)]) == best


def test_f50_throttling_below_the_card_ends_the_climb(card, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "GENTLE_TPS", 10)
    mood = Temperament(throttle_tps=14, **QUICK)
    found, totals = run_check(replace(card, tps=40), mood, tmp_path / "l.jsonl", with_tps=True)
    assert totals.throttled >= 1
    assert [step.tps for step in found.report.steps] == [10, 20]
    assert found.report.steps[1].sent < 20
    assert found.finding("tps").ok is False
    assert found.report.exit_code == 3
    assert "tps = 10 " in filled_in(CARD, found.report)


def test_without_the_option_or_without_a_rate_no_step_is_tried(card, tmp_path):
    assert plan(card, "X", TEXTS, with_tps=False, now=AT).steps_tps == ()
    assert plan(replace(card, tps=None), "X", TEXTS, with_tps=True, now=AT).steps_tps == ()
    assert plan(replace(card, tps=2), "X", TEXTS, with_tps=True, now=AT).steps_tps == (1, 2)
    found, _ = run_check(replace(card, tps=None), Temperament(**QUICK), tmp_path / "l.jsonl", with_tps=True)
    assert (found.finding("tps").ok, found.report.exit_code) == (None, 0)


# -- why a connection fails


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0E, "wrong password"),
        (0x0F, "wrong system_id"),
        (0x05, "another session still holds the account"),
        (0x0D, "an address that is not allowed"),
        (0x0411, "0x411: vendor status"),
    ],
)
def test_f30_a_refused_bind_is_tried_once_and_said_in_words(card, tmp_path, status, words):
    found, totals = run_check(card, Temperament(refuse_bind_status=status), tmp_path / "l.jsonl", reserve=pytest.fail)
    assert (totals.refused_binds, totals.submits) == (1, 0)
    assert words in found.cause
    assert (found.seen.failure.stage, found.seen.failure.bind_status, found.report.exit_code) == ("bind", status, 12)
    causes = {0x0E: "credentials", 0x0F: "credentials", 0x05: "already-bound"}
    assert document(found.report)["failure"]["cause"] == causes.get(status, "bind-refused")


def test_f42_nobody_listens_or_the_name_is_unknown(card, monkeypatch):
    async def closed():
        async with listening(asyncio.Protocol) as port:
            pass
        return await tried(replace(card, endpoint=Endpoint("127.0.0.1", port)), reserve=pytest.fail)

    found = asyncio.run(closed())
    assert "refused the connection" in found.cause
    assert (found.seen.failure.stage, found.seen.failure.cause, found.report.exit_code) == ("connect", "connection-refused", 12)
    unknown = asyncio.run(tried(replace(card, endpoint=Endpoint("smpp.khong-co.invalid", 2775)), reserve=pytest.fail))
    assert "smpp.khong-co.invalid is not found (DNS)" in unknown.cause
    assert unknown.seen.failure.cause == "name-unknown"


def test_f42_tls_against_a_plain_carrier(card, tmp_path):
    async def go():
        async with listening(Answer) as port:
            return await tried(replace(card, tls=True, endpoint=Endpoint("127.0.0.1", port)), reserve=pytest.fail)

    class Answer(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, _data):
            self.transport.write(b"this is no TLS" * 10)

    found = asyncio.run(go())
    assert "no TLS with 127.0.0.1: what the server answers is not TLS" in found.cause
    assert found.seen.failure.cause == "tls"
    assert found.report.exit_code == 12


def test_f42_tls_is_held_to_the_cards_own_authority(card, tmp_path):
    secure = replace(card, tls=True)
    authority = tmp_path / "l.ca.pem"
    found, totals = run_check(secure, Temperament(**QUICK), tmp_path / "l.jsonl", host="localhost", tls_ca=authority)
    assert (found.report.exit_code, totals.submits) == (0, PARTS)
    assert "(TLS, CA l.ca.pem) holds" in found.cause
    unknown, _ = run_check(secure, Temperament(**QUICK), tmp_path / "l.jsonl", host="localhost")
    assert "certificate of localhost is not accepted: it was issued by a CA that is not trusted" in unknown.cause
    other, _ = run_check(secure, Temperament(**QUICK), tmp_path / "l.jsonl", tls_ca=authority)
    assert "certificate of 127.0.0.1 is not accepted: it is for another host" in other.cause
    assert {unknown.seen.failure.stage, other.seen.failure.stage} == {"connect"}
    assert {unknown.seen.failure.cause, other.seen.failure.cause} == {"certificate"}


def test_f31_a_peer_that_never_answers_the_bind_is_called_silent(card, monkeypatch):
    monkeypatch.setattr(check, "Client", functools.partial(check.Client, timers=Timers(bind_timeout_s=0.1)))

    async def go():
        async with listening(asyncio.Protocol) as port:
            return await tried(replace(card, endpoint=Endpoint("127.0.0.1", port)), reserve=pytest.fail)

    found = asyncio.run(go())
    assert "the peer is silent" in found.cause
    assert found.seen.failure.cause == "no-answer"
    assert found.report.exit_code == 12


class Deaf(asyncio.Protocol):
    """A carrier that answers the bind and nothing after it; it may hang up instead of falling silent."""

    def __init__(self, *, hangs_up):
        self._hangs_up = hangs_up
        self._bound = False

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, _data):
        if not self._bound:
            self._transport.write(encode(BindResp(BindKind.TRANSCEIVER, "thu"), 1))
        elif self._hangs_up:
            self._transport.close()
        self._bound = True


@pytest.mark.parametrize(
    ("hangs_up", "stage", "words"),
    [
        (False, "enquire", "silence: no answer to enquire_link within 0.2 s"),
        (True, "link", "the peer closed the connection"),
    ],
)
def test_f32_an_enquire_link_that_is_not_answered_is_a_failure(card, hangs_up, stage, words):
    async def go():
        async with listening(lambda: Deaf(hangs_up=hangs_up)) as port:
            deaf = replace(card, endpoint=Endpoint("127.0.0.1", port), response_timeout_s=0.2)
            return await tried(deaf, reserve=pytest.fail)

    found = asyncio.run(go())
    assert (found.seen.failure.stage, found.report.exit_code) == (stage, 12)
    assert found.seen.failure.cause == ("lost" if hangs_up else "silent")
    assert words in found.cause
    assert found.seen.peer == "thu"


def test_f32_texts_that_meet_silence_are_a_failure(card, tmp_path):
    silent = Temperament(drop_response_share=1.0, **QUICK)
    found, _ = run_check(replace(card, response_timeout_s=0.2), silent, tmp_path / "l.jsonl")
    assert (found.seen.failure.stage, found.report.exit_code) == ("link", 12)
    assert "no answer within 0.2 s" in found.cause
    one = replace(card, response_timeout_s=0.2, test_numbers=NUMBERS[:1], max_parts=1)
    short, _ = run_check(one, silent, tmp_path / "m.jsonl", wait_s=0.1)
    assert (short.seen.failure.stage, short.report.exit_code) == ("send", 12)
    assert "silence: no answer to submit_sm" in short.cause


def test_a_connection_cut_amid_the_texts_is_told(card, tmp_path):
    found, _ = run_check(card, Temperament(disconnect_after=5, **QUICK), tmp_path / "l.jsonl")
    assert (found.seen.failure.stage, found.report.exit_code) == ("link", 12)
    assert len(found.seen.enquiries_s) == check.ENQUIRIES


def test_what_reserving_refuses_is_raised_after_unbinding(card, tmp_path):
    def no():
        raise RefusedError(check.Said("hết", "no more"))

    with pytest.raises(RefusedError):
        run_check(card, Temperament(**QUICK), tmp_path / "l.jsonl", reserve=no)


# -- what belongs to the service stays with the carrier


class Gateway:
    """A carrier that delivers other people's receipts and messages as soon as somebody binds, then answers texts."""

    def __init__(self, *, others=True, esm_class=4, wants_receipt=lambda _place: True, cancel_status=0x11):
        self.statuses = {}
        self._cancel_status = cancel_status
        self._others = others
        self._esm_class = esm_class
        self._wants_receipt = wants_receipt
        self._submitted = 0

    def connect(self):
        return Pump(Session(Role.SMSC, window=100), asyncio.get_running_loop().time, self.on_events, lambda *_: None)

    def deliver(self, pump, name, source, text, esm_class):
        pump.session.request(DeliverSm(source, "SKHCN-QNG", text, esm_class=esm_class), name, asyncio.get_running_loop().time())

    def on_events(self, pump, events):
        for event in events:
            if isinstance(event, BindRequested):
                pump.respond(event.sequence, BindResp(event.body.kind, "thu"))
                if not self._others:
                    continue
                self.deliver(pump, "campaign", "84961234567", b"id:777 stat:DELIVRD err:000", 4)
                self.deliver(pump, "refusal", "84961234568", b"TC", 0)
                self.deliver(pump, "old", str(NUMBERS[0]), b"id:888 stat:DELIVRD err:000", 4)
                self.deliver(pump, "garbled", str(NUMBERS[0]), b"stat:DELIVRD", 4)
            elif isinstance(event, Submitted):
                self._submitted += 1
                message_id = f"{10**6 + self._submitted}"
                pump.respond(event.sequence, SubmitSmResp(message_id))
                if self._wants_receipt(read_part(event.body)):
                    text = f"id:{message_id} stat:DELIVRD err:000".encode()
                    self.deliver(pump, "ours", event.body.destination, text, self._esm_class)
            elif isinstance(event, Requested):
                pump.respond(event.sequence, CancelSmResp(), self._cancel_status)
            elif isinstance(event, Responded):
                self.statuses.setdefault(event.context, set()).add(event.status)


def run_against(gateway, card, **options):
    async def go():
        async with listening(gateway.connect) as port:
            return await tried(replace(card, endpoint=Endpoint("127.0.0.1", port)), **options)

    return asyncio.run(go())


def test_receipts_and_refusals_of_others_are_left_with_the_carrier(card):
    gateway = Gateway()
    found = run_against(gateway, card)
    assert gateway.statuses == {"campaign": {0x64}, "refusal": {0x64}, "old": {0x64}, "garbled": {0x64}, "ours": {0}}
    assert (found.seen.left_alone, found.seen.unreadable, len(found.seen.strangers)) == (4, 1, 1)
    assert found.finding("receipts").ok
    assert found.finding("ids").ok
    assert found.finding("receipt-form").ok is False


def test_f11_receipts_for_the_last_part_only_are_told(card):
    found = run_against(Gateway(others=False, wants_receipt=lambda place: place.part == place.parts), card, wait_s=0.1)
    details = [detail.en for detail in found.finding("receipts").details]
    assert details == ["delivered: 8 parts", "8 parts without a final receipt", "of long texts only part 3 got a receipt"]


@pytest.mark.parametrize(("scope", "place"), [("first", 1), ("last", 3)])
def test_f11_a_card_that_says_so_awaits_no_more(card, scope, place):
    gateway = Gateway(others=False, wants_receipt=lambda part: part.parts == 1 or part.part == place)
    found = run_against(gateway, replace(card, receipt_scope=scope))
    assert found.report.exit_code == 0
    assert found.finding("receipts").said.en == "8 of 8 parts got a final receipt"
    assert found.finding("receipt-scope").ok is True
    assert f'receipt_scope = "{scope}"' in filled_in(CARD, found.report)
    other = "last" if scope == "first" else "first"
    wrong = run_against(
        Gateway(others=False, wants_receipt=lambda part: part.part == place), replace(card, receipt_scope=other), wait_s=0.1
    )
    assert wrong.finding("receipt-scope").ok is False
    assert wrong.report.exit_code == 3


def test_f11_a_carrier_that_gives_more_receipts_than_the_card_says_is_no_fault(card, tmp_path):
    found, totals = run_check(replace(card, receipt_scope="last"), Temperament(**QUICK), tmp_path / "l.jsonl")
    assert (found.report.exit_code, totals.acknowledged) == (0, PARTS)
    assert found.finding("receipt-scope").said.en == "long texts get receipts for every part; the card says the last part"


# -- what the card promises beyond the texts


def test_a_reference_that_receipts_repeat_is_found(card, tmp_path):
    found, totals = run_check(card, Temperament(**QUICK), tmp_path / "l.jsonl")
    assert found.finding("reference").said.en == "receipts repeat user_message_reference"
    assert (found.finding("reference").ok, totals.submits) == (True, PARTS)
    assert document(found.report)["user_message_reference"] is True


@pytest.mark.parametrize(("form", "submits", "words"), [("off", PARTS, "do not repeat"), ("reject", PARTS + 1, "refuses")])
@pytest.mark.parametrize("believed", [False, True])
def test_a_reference_that_the_carrier_will_not_have_is_found(card, tmp_path, form, submits, words, believed):
    mood = Temperament(**QUICK, faults=(fault("umr_echo", form=form),))
    found, totals = run_check(replace(card, user_message_reference=believed), mood, tmp_path / "l.jsonl")
    assert totals.submits == submits
    assert words in found.finding("reference").said.en
    assert found.finding("reference").ok is not believed
    assert found.finding("submit").ok is True
    assert "user_message_reference = false" in filled_in("user_message_reference = true\n" + CARD, found.report)


def test_a_busy_carrier_does_not_seem_to_refuse_references(card, tmp_path):
    mood = Temperament(**QUICK, faults=(fault("throttle", at=1),))
    found, totals = run_check(card, mood, tmp_path / "l.jsonl")
    assert totals.submits == PARTS + 1
    assert found.finding("submit").ok is True
    assert document(found.report)["user_message_reference"] is None


def test_f04_as_many_connections_as_the_card_says_are_opened_at_once(card, tmp_path):
    found, totals = run_check(replace(card, binds=4), Temperament(**QUICK), tmp_path / "l.jsonl")
    assert (totals.binds, found.finding("binds").ok, found.report.exit_code) == (4, True, 0)
    assert "binds = 4" in filled_in(CARD, found.report)


class OneAtATime(Gateway):
    """A carrier that lets so many sessions in."""

    def __init__(self, most):
        super().__init__(others=False, cancel_status=0)
        self._most = most
        self._bound = 0

    def on_events(self, pump, events):
        if any(isinstance(event, BindRequested) for event in events):
            self._bound += 1
            if self._bound > self._most:
                (event,) = events
                pump.respond(event.sequence, BindResp(event.body.kind, "thu"), 0x05)
                return
        super().on_events(pump, events)


def test_f30_a_carrier_that_allows_fewer_connections_is_found_out(card):
    found = run_against(OneAtATime(2), replace(card, binds=4))
    assert (found.seen.binds, found.finding("binds").ok, found.report.exit_code) == (2, False, 3)
    assert any("RALYBND" in detail.en for detail in found.finding("binds").details)
    assert "binds = 2" in filled_in(CARD, found.report)
    assert found.seen.failure is None


def test_every_alternate_host_is_bound_to(card, tmp_path):
    async def nowhere():
        async with listening(asyncio.Protocol) as port:
            return Endpoint("127.0.0.1", port)

    gone = asyncio.run(nowhere())
    found, totals = run_check(replace(card, alternates=(gone,)), Temperament(**QUICK), tmp_path / "l.jsonl")
    assert (found.finding("hosts").ok, found.report.exit_code) == (False, 3)
    assert any(str(gone) in detail.en for detail in found.finding("hosts").details)
    assert document(found.report)["hosts"].keys() == {str(gone)}
    assert totals.submits == PARTS


def test_a_carrier_without_cancel_sm_is_found_out(card):
    found = run_against(Gateway(others=False, cancel_status=0x03), replace(card, cancels=True))
    assert found.finding("cancel").ok is False
    assert "cancels = false" in filled_in("cancels = true\n" + CARD, found.report)
    assert run_against(Gateway(others=False), card).finding("cancel").ok is True


def test_f08_receipts_that_esm_class_does_not_mark_are_told(card):
    found = run_against(Gateway(others=False, esm_class=0), card)
    assert found.finding("receipts").ok
    assert "16 receipts that esm_class does not mark" in [detail.en for detail in found.finding("receipt-form").details]


def test_a_text_that_did_not_arrive_is_told(card, tmp_path):
    found, _ = run_check(card, Temperament(undeliverable_share=1.0, **QUICK), tmp_path / "l.jsonl")
    assert [detail.vi for detail in found.finding("receipts").details] == ["không đến được: 16 phần"]


def test_a_receipt_ahead_of_its_response_is_ours_all_the_same(card, tmp_path):
    found, totals = run_check(card, Temperament(before_response_share=1.0, **QUICK), tmp_path / "l.jsonl")
    assert (found.report.exit_code, found.seen.left_alone, totals.acknowledged) == (0, 0, PARTS)


# -- the card filled in

CARD = """# Thẻ
name = "Thử"
port = 1  # cổng
tls = false
tps = 40
response_id = 'hex'
test_numbers = [
  "0961 000 001", "0961 000 002",
]

assumed = [
  "port", "tps", "window",
  "response_id",
]

[status_verdicts]
"0x0400" = "refused"
"""


def test_the_card_is_filled_in_with_what_was_found(card, tmp_path):
    found, _ = run_check(replace(card, ids=IdRule("hex", "raw")), Temperament(receipt_id=IdForm.HEX, **QUICK), tmp_path / "l.jsonl")
    port = found.card.endpoint.port
    text = filled_in(CARD.replace("port = 1 ", f"port = {port} "), found.report)
    read = tomllib.loads(text)
    assert (read["response_id"], read["receipt_id"], read["tps"], read["port"]) == ("dec", "hex", 40, port)
    assert read["assumed"] == ["tps", "window"]
    assert f"port = {port}  # khớp, đo ngày 12-03-2026 · cổng\n" in text
    assert 'response_id = "dec"  # đo ngày 12-03-2026; thẻ cũ ghi "hex"\n' in text
    assert read["status_verdicts"] == {"0x0400": "refused"}
    assert "0961" not in without_numbers(text)
    assert tomllib.loads(without_numbers(text)) == read | {"test_numbers": []}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "carriers").glob("**/rehearsal/*.toml")) + sorted((REPOSITORY / "carriers").glob("*.toml"))
)
def test_every_shipped_card_can_be_filled_in_and_nothing_else_changes(card, tmp_path, path):
    found, _ = run_check(card, Temperament(**QUICK), tmp_path / "l.jsonl")
    text = path.read_text("utf-8")
    before, after = tomllib.loads(text), tomllib.loads(filled_in(text, found.report))
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed <= {"assumed", "port", "response_id", "receipt_id", "user_message_reference", "cancels"}
    assert (after["user_message_reference"], after["cancels"]) == (True, True)
    assert "port" not in after["assumed"]


def test_nothing_is_filled_in_when_nothing_was_found(card):
    found = Check(card, Seen())
    assert tomllib.loads(filled_in(CARD, found.report)) == tomllib.loads(CARD)


def test_median_and_95th_percentile_are_of_the_nearest_rank():
    assert spread([]) is None
    assert spread([0.005]) == (1, 5.0, 5.0)
    assert spread([number / 1000 for number in range(100, 0, -1)]) == (100, 50.0, 95.0)

"""`carrier approve-check` and `carrier check` as an operator types them, against a simulated carrier over loopback."""

import asyncio
import datetime as dt
import io
import json
import os
import re
import shutil
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from broadcaster.cli.main import run
from broadcaster.files.carriers import read_card
from broadcaster.flow import check
from broadcaster.lang import speak
from broadcaster.link.ledger import read_ledger
from broadcaster.link.simulator import serve
from broadcaster.link.temperament import IdForm, SpanMs, Temperament
from broadcaster.store.engine import service_lock

REPOSITORY = Path(__file__).parents[2]
IN_CLEAR = re.compile(r"(?<!\d)(?:84|0) ?96 ?1[ .]?000[ .]?00\d")
UNTIL = (dt.datetime.now(dt.UTC) + dt.timedelta(days=30)).date().isoformat()
APPROVE = [
    "carrier",
    "approve-check",
    "--as",
    "lanh-dao-so",
    "--key",
    "keys/lanh-dao-so.pem",
    "--sender",
    "SKHCN-QNG",
    "--until",
    UNTIL,
]
CHECK = ["carrier", "check", "viettel"]
YES = ["--yes", "--expect-numbers", "2"]
PATIENCE_S = 20.0


class Desk:
    """An installation whose Viettel is simulated in a thread of this process."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.card = folder / "carriers" / "viettel.toml"

    def __call__(self, *arguments, stdin=""):
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(list(arguments))
        out, err = self._capsys.readouterr()
        assert not IN_CLEAR.search(out + err), "a number stands in clear"
        return code, out, err

    def ok(self, *arguments, **options):
        code, out, err = self(*arguments, **options)
        assert code == 0, (out, err)
        return out

    def change(self, old, new):
        text = self.card.read_text("utf-8")
        assert old in text
        self.card.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    mask = os.umask(0o077)
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", threading.excepthook)
    monkeypatch.setattr(check, "START_HOLD_NS", 0)
    monkeypatch.setattr(check, "GENTLE_TPS", 500)
    for name in [name for name in os.environ if name.startswith("BROADCASTER_")]:
        monkeypatch.delenv(name)
    speak("vi")
    folder = tmp_path / "noi-cai-dat"
    desk = Desk(folder, capsys, monkeypatch)
    desk.ok("init", str(folder))
    shutil.copytree(REPOSITORY / "templates" / "system", folder / "templates" / "system", dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    for name, role in (("lanh-dao-so", "approver"), ("van-thu", "operator")):
        desk.ok("person", "add", name, "--title", name, "--role", role, "--new-key", f"keys/{name}.pem")
    yield desk
    os.umask(mask)
    speak("vi")


@pytest.fixture
def carrier(desk):
    """Start a simulated carrier as the temperament says; it is stopped at the end."""
    stops = []

    def start(**mood):
        loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        ports = []

        def listening(port):
            ports.append(port)
            ready.set()

        def live():
            mood_found = Temperament(receipt_delay_ms=SpanMs(0, 10), **mood)
            loop.run_until_complete(
                serve(read_card(desk.card, {}), mood_found, desk.folder / "l.jsonl", port=0, ready=listening, stop=stop)
            )
            loop.close()

        thread = threading.Thread(target=live)
        thread.start()
        assert ready.wait(PATIENCE_S)
        stops.append((loop, stop, thread))
        desk.change("port = 27751", f"port = {ports[0]}")

    yield start
    for loop, stop, thread in stops:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)


def test_a_good_connection_is_accepted_with_a_report_and_a_card(desk, carrier):
    carrier()
    out = desk.ok(*APPROVE, "--daily", "100")
    assert "DIỄN TẬP: TB: Tin thử" in out
    assert "tối đa 100 tin mỗi ngày" in out
    out = desk.ok(*CHECK, *YES, "--card-file", "moi.toml")
    assert "✓ nhà mạng nhận 16 trên 16 phần tin thử" in out
    assert "Nhìn trên máy thử" in out
    filled = tomllib.loads((desk.folder / "moi.toml").read_text("utf-8"))
    assert filled["test_numbers"] == ["0961 000 001", "0961 000 002"]
    assert (desk.folder / "moi.toml").stat().st_mode & 0o777 == 0o600
    document = json.loads(desk.ok(*CHECK, *YES, "--json"))
    assert {item["id"]: item["ok"] for item in document["checks"]} == {
        "link": True,
        "submit": True,
        "receipts": True,
        "ids": True,
        "receipt-form": True,
        "tps": None,
        "reference": True,
        "receipt-scope": True,
        "cancel": True,
    }
    assert tomllib.loads(document["card"])["test_numbers"] == []
    assert (document["ids"]["certain"], document["response_ms"]["parts"], document["texts"][0]["number"]) == (True, 16, "8496****001")
    speak("en")
    assert "the carrier took 16 of 16 parts" in desk.ok(*CHECK, *YES)


def test_a_carrier_that_differs_from_its_card_ends_with_3(desk, carrier):
    carrier(response_id=IdForm.HEX)
    desk.ok(*APPROVE, "--daily", "100")
    code, out, _ = desk(*CHECK, *YES)
    assert code == 3
    assert '✗ cách viết mã tin khác thẻ: response_id = "hex"' in out
    assert 'response_id = "hex"  # đo ngày' in out


def test_a_carrier_that_cannot_be_reached_ends_with_12_and_its_cause(desk):
    desk.ok(*APPROVE, "--daily", "8")
    desk.change('host = "127.0.0.1"', 'host = "smpp.khong-co.invalid"')
    code, out, err = desk(*CHECK, *YES, "--json")
    assert code == 12
    assert (json.loads(out)["failure"]["stage"], json.loads(out)["failure"]["cause"]) == ("connect", "name-unknown")
    assert "không tìm thấy máy chủ smpp.khong-co.invalid (DNS)" in json.loads(err)["message"]
    assert desk(*CHECK, *YES)[0] == 12, "what never went out does not count against the day's cap"


def test_nothing_goes_out_without_a_signature_that_holds(desk, carrier):
    carrier()
    code, _, err = desk(*CHECK, *YES)
    assert (code, "chưa có phê duyệt thường trực" in err) == (4, True)
    as_operator = [*APPROVE, "--daily", "100"]
    as_operator[3:6] = ["van-thu", "--key", "keys/van-thu.pem"]
    assert desk(*as_operator)[0] == 4
    assert not (desk.folder / "standing.toml").exists()
    desk.ok(*APPROVE, "--daily", "100")
    standing = desk.folder / "standing.toml"
    signed = standing.read_text("utf-8")
    standing.write_text(signed.replace("daily = 100", "daily = 9999"), "utf-8")
    assert desk(*CHECK, *YES)[0] == 4
    standing.write_text(signed, "utf-8")
    texts = desk.folder / "templates" / "system" / "kiem-tra-ket-noi.toml"
    texts.write_text(texts.read_text("utf-8").replace("mời bỏ qua", "xin bỏ qua"), "utf-8")
    code, _, err = desk(*CHECK, *YES)
    assert (code, "nội dung tin thử đã khác" in err) == (4, True)
    assert list(read_ledger(desk.folder / "l.jsonl")) == []


def test_the_days_cap_is_kept_over_checks(desk, carrier):
    carrier()
    desk.ok(*APPROVE, "--daily", "15")
    desk.ok(*CHECK, *YES)
    code, _, err = desk(*CHECK, *YES)
    assert code == 4
    assert "cần gửi 8 tin thử, hôm nay đã gửi 8, phê duyệt chỉ cho 15" in err


def test_the_number_of_phones_must_be_typed(desk, carrier):
    carrier()
    desk.ok(*APPROVE, "--daily", "100")
    for typed in ("", "3\n", "hai\n"):
        code, _, err = desk(*CHECK, stdin=typed)
        assert code == 4
        assert "8496****001, 8496****002" in err
    assert desk(*CHECK, "--yes", "--expect-numbers", "3")[0] == 4
    assert desk(*CHECK, *YES, "--expect-texts", "9")[0] == 4
    assert desk(*CHECK, "--yes")[0] == 2
    assert desk(*CHECK, "--expect-numbers", "2")[0] == 2
    assert list(read_ledger(desk.folder / "l.jsonl")) == []
    desk.ok(*CHECK, stdin="2\n")
    assert len({row.dst for row in read_ledger(desk.folder / "l.jsonl")}) == 2


def test_never_beside_a_service(desk, carrier):
    carrier()
    desk.ok(*APPROVE, "--daily", "100")
    with service_lock(desk.folder / "state" / "broadcaster.db"):
        assert desk(*CHECK, *YES)[0] == 11
    assert list(read_ledger(desk.folder / "l.jsonl")) == []


def test_a_card_without_test_numbers_is_a_matter_of_configuration(desk):
    desk.ok(*APPROVE, "--daily", "100")
    desk.change('["0961 000 001", "0961 000 002"]', "[]")
    code, _, err = desk(*CHECK, *YES)
    assert code == 5
    assert "test_numbers" in err


def test_a_live_rate_needs_the_number_of_texts_as_well(monkeypatch, now):
    from dataclasses import replace

    from broadcaster.cli.carrier_check import _confirm
    from broadcaster.errors import RefusedError
    from broadcaster.flow.check_gate import plan
    from broadcaster.model import Environment

    rehearsal = replace(read_card(REPOSITORY / "carriers" / "rehearsal" / "viettel.toml", {}), tps=8)
    live = replace(rehearsal, environment=Environment.LIVE)
    texts = {"unaccented-1": "Tin thu"}
    _confirm(plan(rehearsal, "X", texts, with_tps=True, now=now), 2, None)
    _confirm(plan(live, "X", texts, with_tps=False, now=now), 2, None)
    errand = plan(live, "X", texts, with_tps=True, now=now)
    assert errand.count == 2 + 2 + 4 + 6 + 8
    _confirm(errand, 2, 22)
    for numbers, count in ((2, None), (2, 21), (1, 22)):
        with pytest.raises(RefusedError):
            _confirm(errand, numbers, count)


def test_what_a_check_sends_counts_against_the_quotas(desk, carrier):
    carrier()
    desk.change("window = 100", "window = 100\nparts_per_month = 100")
    desk.ok(*APPROVE, "--daily", "100")
    desk.ok(*CHECK, *YES)
    shown = json.loads(desk.ok("carrier", "show", "viettel", "--json"))
    assert (shown["parts_this_month"], shown["quota_left"]) == (16, 84)


ALWAYS_MENDED = "maintenance = [{ start = 2020-01-01T00:00:00+07:00, end = 2096-01-01T00:00:00+07:00 }]"


def test_a_carriers_terms_are_shown_as_they_stand_now(desk):
    desk.change("window = 100", "window = 100\nbinds = 2\nparts_per_day = 1000\n" + ALWAYS_MENDED)
    shown = json.loads(desk.ok("carrier", "show", "viettel", "--json"))
    assert (shown["binds"], shown["tps_now"], shown["quota_left"], shown["test_numbers"]) == (2, 0, 1000, 2)
    assert shown["closed_until"] == shown["maintenance"][0]["end"]
    out = desk.ok("carrier", "show", "viettel")
    assert "đóng đến 00:00:00 01-01-2096" in out
    assert "đã gửi 0 phần trên hạn mức 1.000" in out
    speak("en")
    assert "closed until 00:00:00 01-01-2096" in desk.ok("carrier", "show", "viettel", "--lang", "en")


def _shown_now(desk):
    """What may be sent now, in words and in figures."""
    words = next(
        line.split("Lúc này")[1].lstrip(" :") for line in desk.ok("carrier", "show", "viettel").splitlines() if "Lúc này" in line
    )
    return words, json.loads(desk.ok("carrier", "show", "viettel", "--json"))["tps_now"]


def test_what_may_be_sent_now_obeys_orders_and_quotas(desk):
    from broadcaster.store import usage
    from broadcaster.store.engine import Store

    assert _shown_now(desk) == ("500 phần/s", 500)
    assert not re.search(r"Hôm nay|Tháng này", desk.ok("carrier", "show", "viettel"))
    assert json.loads(desk.ok("carrier", "show", "viettel", "--json"))["parts_today"] is None
    desk.ok("carrier", "rate", "viettel", "20", "--reason", "thử")
    assert _shown_now(desk) == ("20 phần/s", 20)
    desk.change("window = 100", "window = 100\nparts_per_day = 5\nparts_per_month = 9")
    store = Store(f"sqlite:///{desk.folder / 'state' / 'broadcaster.db'}")
    for words in ("hết hạn mức ngày", "hết hạn mức tháng"):
        with store.write() as connection:
            usage.add(connection, "viettel", [time.time_ns()] * 5)
        assert _shown_now(desk) == (words, 0)
    desk.ok("carrier", "pause", "viettel", "--reason", "thử")
    assert _shown_now(desk) == ("tạm ngừng", 0)
    desk.ok("stop-all", "--reason", "thử")
    assert _shown_now(desk) == ("đã dừng toàn bộ", 0)


def test_a_card_is_shown_in_the_operators_words(desk):
    out = desk.ok("carrier", "show", "viettel")
    assert all(words in out for words in ("(viettel, diễn tập, 452-04)", "khoảng thời gian", "đã đến máy, mọi phần"))
    assert not [word for word in ("rehearsal", "relative", "handset") if word in out]
    desk.change("window = 100", 'window = 100\nhourly_tps = [{ window = "all-day", tps = 50 }]')
    assert "cả ngày: 50" in desk.ok("carrier", "show", "viettel")

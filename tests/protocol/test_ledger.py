from __future__ import annotations

import contextlib
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.link.ledger import Ledger, LedgerRow, read_ledger
from broadcaster.smpp import Bind, BindKind, Command, SubmitTemplate, encode
from broadcaster.smpp.frame import Framer

CARD = """
name = "Thử"
environment = "rehearsal"
mnc = "99"
host = "127.0.0.1"
port = 2775
system_id = "dien-tap"
tps = "unlimited"
"""

SUBMIT = (
    '{"t":5,"e":"submit","session":1,"seq":2,"src":"CANHBAO","dst":"84912345678",'
    '"part":1,"parts":2,"ref":7,"sha":"ab","status":0,"id":"9"}'
)
RECEIPT = '{"t":6,"e":"receipt","id":"9","dst":"84912345678","stat":"DELIVRD","acked":true}'
REPLY = '{"t":7,"e":"mo","dst":"84912345678","text":"Từ chối","acked":false}'


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "so.jsonl"
    with Ledger(path) as ledger:
        ledger.write([SUBMIT, RECEIPT])
        ledger.write([REPLY])
    assert list(read_ledger(path)) == [
        LedgerRow(5, "submit", "84912345678", session=1, seq=2, src="CANHBAO", part=1, parts=2, ref=7, sha="ab", status=0, id="9"),
        LedgerRow(6, "receipt", "84912345678", id="9", stat="DELIVRD", acked=True),
        LedgerRow(7, "mo", "84912345678", text="Từ chối", acked=False),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_withheld_answer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "so.jsonl"
    path.write_text(SUBMIT[:-1] + ',"answered":false}\n' + SUBMIT + "\n")
    assert [row.answered for row in read_ledger(path)] == [False, True]


@pytest.mark.parametrize("torn", ["{", SUBMIT[:-9], SUBMIT, "x" * 200_000])
def test_a_torn_last_line_is_passed_over_and_cut_off(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "so.jsonl"
    path.write_text(RECEIPT + "\n" + torn)
    assert len(list(read_ledger(path))) == 1
    with Ledger(path) as ledger:
        ledger.write([REPLY])
    assert path.read_text() == RECEIPT + "\n" + REPLY + "\n"


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"t":1,"e":"other"}',
        RECEIPT.replace('"acked":true', '"acked":true,"more":1'),
        '{"t":6,"e":"receipt"}',
    ],
)
def test_a_damaged_line_is_named(damaged: str, tmp_path: Path) -> None:
    path = tmp_path / "so.jsonl"
    path.write_text(f"{SUBMIT}\n{damaged}\n{SUBMIT}\n")
    with pytest.raises(InvalidFileError) as caught:
        list(read_ledger(path))
    assert [problem.line for problem in caught.value.problems] == [2]


def test_an_absent_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        list(read_ledger(tmp_path / "khong-co.jsonl"))
    with pytest.raises(ConfigurationError):
        Ledger(tmp_path / "khong-co" / "so.jsonl")


def responses(link: socket.socket, framer: Framer, command: int, most: int) -> Iterator[bytes]:
    """Yield the bodies of what the carrier answers, at most so many, until it is gone."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while count < most and (data := link.recv(65_536)):
            for kind, status, _, body in framer.feed(data):
                assert (kind, status) == (command, 0)
                count += 1
                yield body


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A simulated carrier as a process of its own."""
    (tmp_path / "thu.toml").write_text(CARD)
    command = ["carrier", "simulate", str(tmp_path / "thu.toml"), "--port", "0", "--ledger", str(tmp_path / "so.jsonl")]
    with subprocess.Popen([sys.executable, "-m", "broadcaster", *command], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_nothing_answered_is_missing_after_a_kill(carrier: subprocess.Popen[str], tmp_path: Path) -> None:
    """Killed with SIGKILL under load: every response that reached us is on the disk, and no line twice."""
    assert carrier.stdout is not None
    template = SubmitTemplate.build(source="CANHBAO", short_message=b"x", registered_delivery=0)
    framer = Framer()
    with socket.create_connection(("127.0.0.1", int(carrier.stdout.readline())), timeout=20) as link:
        link.sendall(encode(Bind(BindKind.TRANSCEIVER, "dien-tap", ""), 1))
        assert len(list(responses(link, framer, Command.BIND_TRANSCEIVER_RESP, 1))) == 1
        link.sendall(b"".join(template.splice(at + 2, b"849%08d" % at) for at in range(5000)))
        ids = list(responses(link, framer, Command.SUBMIT_SM_RESP, 1000))
        carrier.kill()
        carrier.wait()
        ids += responses(link, framer, Command.SUBMIT_SM_RESP, 5000)
    rows = [row.id for row in read_ledger(tmp_path / "so.jsonl")]
    assert len(ids) >= 1000
    assert {body[:-1].decode() for body in ids} <= set(rows)
    assert len(rows) == len(set(rows))

"""Measure the simulated carrier alone: submits a second, each answered, receipted and acknowledged, with an fsynced ledger.

`make bench` runs it. The carrier is a process of its own (`broadcaster carrier simulate`); this process is a client of spliced PDUs
that keeps a window full and acknowledges each receipt by copying its sequence number, so the carrier is the bottleneck. Rates are
given by the wall clock, and by the carrier's own CPU time, which is what one core of its own would hold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from broadcaster.smpp import Bind, BindKind, SubmitTemplate, encode

ROOT = Path(__file__).parents[2]
WINDOW = 1_000
TEXT = "Cảnh báo: kẻ gian giả danh công an gọi điện đòi tiền".encode("utf-16-be")
SUBMIT_SM_RESP = 0x80000004
DELIVER_SM = 0x00000005
DELIVER_SM_RESP = struct.pack(">III", 17, 0x80000005, 0)
SCRIPT = "[receipt]\ndelay_ms = [0, 200]\n"
CARD = """
name = "Thử"
environment = "rehearsal"
mnc = "99"
host = "127.0.0.1"
port = 2775
system_id = "dien-tap"
tps = "unlimited"
window = 1000
"""


class Figures(NamedTuple):
    """One run: messages, wall seconds, the carrier's CPU seconds and peak memory."""

    messages: int
    seconds: float
    cpu_s: float
    peak_mb: float


def measure(folder: Path, messages: int) -> Figures:
    """Send so many messages to a fresh carrier and wait for all their receipts."""
    (folder / "thu.toml").write_text(CARD)
    (folder / "kich-ban.toml").write_text(SCRIPT)
    command = ["carrier", "simulate", str(folder / "thu.toml"), "--port", "0", "--faults", str(folder / "kich-ban.toml")]
    command += ["--ledger", str(folder / "so.jsonl")]
    carrier = subprocess.Popen([sys.executable, "-m", "broadcaster", *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert carrier.stdout is not None
    try:
        seconds = blast(int(carrier.stdout.readline()), messages)
        carrier.send_signal(signal.SIGTERM)
        totals = json.loads(carrier.stdout.read())
        _, _, usage = os.wait4(carrier.pid, 0)
        carrier.returncode = 0
    finally:
        carrier.stdout.close()
        if carrier.returncode is None:
            carrier.kill()
            carrier.wait()
    if totals["accepted"] != messages or totals["acknowledged"] != messages:
        sys.exit(f"the carrier's totals differ: {totals}")
    return Figures(messages, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def blast(port: int, messages: int) -> float:
    """Send, acknowledge and count until every message has its receipt; return the seconds it took."""
    template = SubmitTemplate.build(source="CANHBAO", source_ton=5, short_message=TEXT, data_coding=8)
    pdus = [template.splice(at + 2, b"849%08d" % at) for at in range(messages)]
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(encode(Bind(BindKind.TRANSCEIVER, "dien-tap", ""), 1))
    rest = b""
    sent = answered = receipted = 0
    began = time.perf_counter()
    while receipted < messages:
        data = rest + link.recv(1 << 20)
        if len(data) == len(rest):
            sys.exit("the carrier closed the connection")
        out: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 16:
            length, command, status = struct.unpack_from(">III", data, at)
            if end - at < length:
                break
            if command == SUBMIT_SM_RESP:
                answered += 1
                if status:
                    sys.exit(f"refused with 0x{status:X}")
            elif command == DELIVER_SM:
                receipted += 1
                out.append(DELIVER_SM_RESP + data[at + 12 : at + 16] + b"\0")
            at += length
        rest = data[at:]
        room = min(WINDOW - (sent - answered), messages - sent)
        out += pdus[sent : sent + room]
        sent += room
        if out:
            link.sendall(b"".join(out))
    seconds = time.perf_counter() - began
    link.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    messages = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="broadcaster-bench-") as folder:
        run = measure(Path(folder), messages)
    print(f"simulated carrier, {run.messages:,} submits, each with its receipt acknowledged, window {WINDOW:,}")
    each_us = run.cpu_s / run.messages * 1e6
    print(f"  {'by the wall clock':<46} {run.messages / run.seconds:,.0f} /s in {run.seconds:.1f} s")
    print(f"  {'by the carrier’s CPU time (one core)':<46} {run.messages / run.cpu_s:,.0f} /s, {each_us:.1f} µs each")
    print(f"  {'peak memory':<46} {run.peak_mb:.0f} MB")


if __name__ == "__main__":
    main()

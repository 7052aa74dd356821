"""Fill in a carrier's card with what a check found: its text stays, line by line, but for the keys that were measured."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from broadcaster.flow.check_extras import cancels, receipt_scope, repeats_references
from broadcaster.flow.check_report import Report, accepted_tps
from broadcaster.model import TIMEZONE

_ZONE: Final = ZoneInfo(TIMEZONE)
_ASSUMED: Final = re.compile(r"(?m)^assumed\s*=\s*\[[^\]]*\][^\n]*$")
_TEST_NUMBERS: Final = re.compile(r"(?m)^test_numbers\s*=\s*\[[^\]]*\][^\n]*$")
_FIRST_TABLE: Final = re.compile(r"(?m)^\[")


def measured(report: Report) -> dict[str, object]:
    """Return the keys of a card that this check settles, with the values found."""
    card, seen = report.errand.card, report.seen
    found: dict[str, object] = {}
    if seen.peer is not None:
        found |= {"port": card.endpoint.port, "tls": card.tls, "system_type": card.system_type}
    if report.dialect.certain:
        found |= {"response_id": report.dialect.rule.response, "receipt_id": report.dialect.rule.receipt}
    if seen.receipts and seen.parts and all(part.accepted for part in seen.parts if part.step_tps is None):
        found |= {
            "source_ton": card.source_ton,
            "source_npi": card.source_npi,
            "destination_ton": card.destination_ton,
            "destination_npi": card.destination_npi,
        }
    if (tps := accepted_tps(report.steps)) is not None:
        found["tps"] = tps
    further = {
        "receipt_scope": receipt_scope(seen),
        "user_message_reference": repeats_references(seen),
        "binds": seen.binds,
        "cancels": cancels(seen),
    }
    found |= {key: value for key, value in further.items() if value is not None}
    return found


def filled_in(text: str, report: Report) -> str:
    """Return the card's text with the measured values in it, each saying what the card said before; they are no longer assumed."""
    found = measured(report)
    before = tomllib.loads(text)
    day = f"{report.at.astimezone(_ZONE):%d-%m-%Y}"
    missing: list[str] = []
    for key, value in found.items():
        line = re.compile(rf"(?m)^{key}\s*=\s*(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s#]+)(?:[ \t]*#[ \t]*([^\n]*))?$")
        place = line.search(text)
        if place is None:
            if value != _DEFAULTS.get(key):
                missing.append(f"{key} = {_toml(value)}  # đo ngày {day}; thẻ cũ không ghi")
            continue
        old = before[key]
        note = f"khớp, đo ngày {day}" if old == value else f"đo ngày {day}; thẻ cũ ghi {_toml(old)}"
        comment = f"{note} · {place[1]}" if place[1] else note
        text = f"{text[: place.start()]}{key} = {_toml(value)}  # {comment}{text[place.end() :]}"
    text = _without_assumed(text, before, found)
    return _inserted(text, missing) + _figures(report)


_DEFAULTS: Final[Mapping[str, object]] = {
    "tls": False,
    "system_type": "",
    "source_ton": 5,
    "source_npi": 0,
    "destination_ton": 1,
    "destination_npi": 1,
    "response_id": "raw",
    "receipt_id": "raw",
    "receipt_scope": "all",
    "user_message_reference": False,
    "binds": 1,
    "cancels": False,
}
"""What a card means that does not write a key."""


def without_numbers(text: str) -> str:
    """Return a card's text without its test numbers, for eyes other than the installation's."""
    count = len(tomllib.loads(text).get("test_numbers", []))
    return _TEST_NUMBERS.sub(f"test_numbers = []  # {count} số không in ra; giữ như thẻ cũ", text)


def _toml(value: object) -> str:
    # A JSON string without control characters is a TOML basic string; numbers and booleans are spelt alike.
    return json.dumps(value, ensure_ascii=False)


def _without_assumed(text: str, before: Mapping[str, object], found: Mapping[str, object]) -> str:
    assumed = before.get("assumed")
    if not isinstance(assumed, list):
        return text
    left = ", ".join(_toml(key) for key in assumed if key not in found)
    lines = textwrap.fill(f"assumed = [{left}]", 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return _ASSUMED.sub(lambda _match: lines, text, count=1)


def _inserted(text: str, lines: list[str]) -> str:
    """Put new keys ahead of the first table, where top-level keys belong."""
    if not lines:
        return text
    table = _FIRST_TABLE.search(text)
    at = table.start() if table else len(text)
    return text[:at] + "\n".join(lines) + "\n\n" + text[at:]


def _figures(report: Report) -> str:
    """Return the figures that no key of a card holds, as comments at the end."""
    seen = report.seen
    lines = [f"# Đo bằng `broadcaster carrier check` lúc {report.at.astimezone(_ZONE):%H:%M %d-%m-%Y}:"]
    if seen.enquiries_s:
        lines.append("#   enquire_link: " + ", ".join(f"{taken * 1000:.1f}" for taken in seen.enquiries_s) + " ms")
    for name, times in (("trả lời submit_sm", report.answers), ("biên nhận", report.receipts)):
        if times is not None:
            lines.append(f"#   {name}: p50 {times.p50_ms:g} ms, p95 {times.p95_ms:g} ms ({times.parts} phần)")
    lines += [f"#   {'?' if item.ok is None else '✓' if item.ok else '✗'} {item.said.vi}" for item in report.findings]
    return "\n" + "\n".join(lines) + "\n"

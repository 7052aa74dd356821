"""Names and verdicts of command_status (F50–F57)."""

from __future__ import annotations

import pytest
from smpplib import consts

from broadcaster.smpp import Verdict, describe, status, verdict


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0x00, Verdict.ACCEPTED),
        (0x58, Verdict.THROTTLED),
        (0x14, Verdict.QUEUE_FULL),
        (0x08, Verdict.TEMPORARY),
        (0x64, Verdict.TEMPORARY),
        (0x45, Verdict.TEMPORARY),
        (0x0B, Verdict.REFUSED),
        (0x01, Verdict.REFUSED),
        (0x65, Verdict.REFUSED),
        (0x66, Verdict.REFUSED),
        (0x0A, Verdict.MISCONFIGURED),
        (0x61, Verdict.MISCONFIGURED),
        (0x62, Verdict.MISCONFIGURED),
        (0xC0, Verdict.MISCONFIGURED),
        (0xC4, Verdict.MISCONFIGURED),
        (0xC5, Verdict.REFUSED),
        (0x04, Verdict.REBIND),
        (0x400, Verdict.REFUSED),
        (0xFFFFFFFF, Verdict.REFUSED),
    ],
)
def test_verdicts(code: int, expected: Verdict) -> None:
    assert verdict(code) is expected


def test_a_carriers_own_table_comes_first() -> None:
    own = {0x0B: "temporary", 0x40D: "duplicate"}
    assert verdict(0x0B, own) is Verdict.TEMPORARY
    assert verdict(0x40D, own) is Verdict.DUPLICATE
    assert verdict(0x58, own) is Verdict.THROTTLED


def test_an_override_must_name_a_verdict() -> None:
    with pytest.raises(ValueError, match="perhaps"):
        verdict(0x400, {0x400: "perhaps"})


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (0x14, "RMSGQFUL (0x14): Message Queue is full"),
        (0x00, "ROK (0x00): No Error"),
        (0x40D, "0x40D: vendor status"),
        (0x103, "0x103: reserved status"),
    ],
)
def test_descriptions(code: int, shown: str) -> None:
    assert describe(code) == shown


def test_our_codes_are_smpplibs() -> None:
    ours = {name: code for name, code in vars(status).items() if name.startswith("R") and isinstance(code, int)}
    assert len(ours) > 10
    assert ours == {name: getattr(consts, f"SMPP_ESME_{name}") for name in ours}


def test_every_named_code_has_a_description() -> None:
    assert all(describe(code).startswith(name) for code, name in status.NAMES.items())

"""Logs leak nothing: unknown keys are dropped, runs of digits masked."""

from __future__ import annotations

import pytest

from broadcaster.service.logs import _allow, _mask, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("84961000000", "8496****000"),
        ("to +84961000000 and 0905123456.", "to +8496****000 and 0905****456."),
        ("12345678", "12345678"),
        ("7:00", "7:00"),
    ],
)
def test_numbers_are_masked(text, masked):
    assert mask(text) == masked


def test_keys_that_are_not_allowed_are_dropped_and_named():
    event = {"event": "sent", "carrier": "viettel", "msisdn": "84961000000", "password": "x"}
    assert _allow(None, "", dict(event)) == {"event": "sent", "carrier": "viettel", "dropped": ["msisdn", "password"]}


def test_allowed_keys_are_masked_too():
    assert _mask(None, "", {"reason": "84961000000 x", "count": 84961000000}) == {"reason": "8496****000 x", "count": 84961000000}

"""Bulk inserts: whatever road the rows take, what is read is what was written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from broadcaster.store.engine import LEAST_AS_JSON, Store, append
from broadcaster.store.schema import opt_out, receipt

COLUMNS = ("carrier", "smsc_id", "token", "stat", "state", "error", "received_ms", "reference", "submit_date")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
TOKENS = st.binary(min_size=16, max_size=16)


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value for a whole column, another one in each row, or none at all."""
    return st.none() | values


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Rows of which each column is drawn once for all, or anew for each row."""
    kinds = (TEXTS, TEXTS, some(TOKENS), TEXTS, some(st.integers(0, 99)), some(TEXTS), st.integers(0, 2**62), some(st.integers(0, 9)))
    count = draw(st.sampled_from((1, 3, LEAST_AS_JSON - 1, LEAST_AS_JSON, 3 * LEAST_AS_JSON + 1)))
    columns = []
    for kind in (*kinds, some(TEXTS)):
        if draw(st.booleans()):
            columns.append([draw(kind)] * count)
        else:
            columns.append(draw(st.lists(kind, min_size=count, max_size=count)))
    return list(zip(*columns, strict=True))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(rows=batches())
def test_what_is_read_is_what_was_written_and_in_order(store: Store, rows: list[tuple[Any, ...]]) -> None:
    with store.write() as connection:
        connection.execute(receipt.delete())
        assert append(connection, receipt, COLUMNS, rows) == len(rows)
        found = connection.execute(select(*(receipt.c[name] for name in COLUMNS)).order_by(receipt.c.id)).all()
    assert [tuple(row) for row in found] == rows


@pytest.mark.parametrize("count", [3, LEAST_AS_JSON, 2 * LEAST_AS_JSON])
def test_rows_that_are_there_stay_as_they_are(store: Store, count: int) -> None:
    rows = [(at.to_bytes(16, "big"), at) for at in range(count)]
    with store.write() as connection:
        assert append(connection, opt_out, ("token", "since_ms"), rows[::2]) == len(rows[::2])
        again = [(token, since + 1_000) for token, since in rows]
        assert append(connection, opt_out, ("token", "since_ms"), again, or_ignore=True) == len(rows[1::2])
        found = {row.token: row.since_ms for row in connection.execute(select(opt_out))}
    assert found == dict(rows[::2]) | dict(again[1::2])


@pytest.mark.sqlite_only(reason="PostgreSQL keeps no NUL in a text")
def test_a_text_with_a_nul_comes_back_whole(store: Store) -> None:
    rows = [("viettel", f"a\0{at}", "DELIVERED", at) for at in range(LEAST_AS_JSON)]
    columns = ("carrier", "smsc_id", "stat", "received_ms")
    with store.write() as connection:
        append(connection, receipt, columns, rows)
        found = connection.execute(select(*(receipt.c[name] for name in columns)).order_by(receipt.c.id)).all()
    assert [tuple(row) for row in found] == rows

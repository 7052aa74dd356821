"""The log of refusals and the set it adds up to."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from broadcaster.store import refusals as table
from broadcaster.store.engine import Store
from broadcaster.store.refusals import Refusal, Reply

TOKENS = [bytes([number]) * 16 for number in range(4)]

entries = st.builds(
    Refusal,
    token=st.sampled_from(TOKENS),
    refuses=st.booleans(),
    source=st.just("reply"),
    evidence=st.just("TC"),
    at_ms=st.integers(0, 9),
)


def refusing(store: Store) -> dict[bytes, int]:
    with store.read() as connection:
        return {row.token: row.since_ms for row in connection.execute(text("SELECT token, since_ms FROM opt_out"))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(batches=st.lists(st.lists(entries, max_size=6), max_size=6))
def test_the_last_word_of_each_number_counts(store: Store, batches: list[list[Refusal]]) -> None:
    with store.write() as connection:
        connection.execute(text("DELETE FROM opt_out"))
        connection.execute(text("DELETE FROM refusal"))
    for batch in batches:
        with store.write() as connection:
            table.record_refusals(connection, batch)
    told = [item for batch in batches for item in batch]
    assert set(refusing(store)) == {token for token, refuses in {item.token: item.refuses for item in told}.items() if refuses}
    with store.read() as connection:
        newest, news = table.refusals_after(connection, 0)
        assert news == [(item.token, item.refuses) for item in told]
        assert table.count_refusing(connection) == len(refusing(store))
        assert table.refusals_after(connection, newest) == (newest, [])
        assert newest == table.newest_refusal_id(connection)


def test_repeating_keeps_the_first_time(store: Store) -> None:
    for at_ms in (5, 9):
        with store.write() as connection:
            table.record_refusals(connection, [Refusal(TOKENS[0], True, "reply", "TC", at_ms)])
    assert refusing(store) == {TOKENS[0]: 5}
    with store.read() as connection:
        assert [item.at_ms for item in table.refusals(connection, 10)] == [9, 5]
        assert [item.at_ms for item in table.refusals(connection, 1)] == [9]


def test_replies_are_counted_by_carrier_and_kind(store: Store) -> None:
    with store.write() as connection:
        table.record_replies(
            connection,
            [
                Reply("viettel", TOKENS[0], "refuse", "TC", 10),
                Reply("viettel", TOKENS[1], "refuse", "tc", 19),
                Reply("viettel", None, "other", "?", 20),
                Reply("mobifone", TOKENS[2], "refuse", "TC", 9),
            ],
        )
    with store.read() as connection:
        assert table.replies_between(connection, 10, 20) == {("viettel", "refuse"): 2}
        assert table.replies_between(connection, 0, 99)["mobifone", "refuse"] == 1

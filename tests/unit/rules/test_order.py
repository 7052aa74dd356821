import datetime as dt
import json
from dataclasses import replace

import pytest

from broadcaster.lang import Said
from broadcaster.model import (
    AreaCode,
    Audience,
    CarrierCode,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    UnknownPolicy,
    Variant,
)
from broadcaster.rules.order import order_from_json, order_to_json, parse_window, window_text

ORDER = Order(
    name="ba-xa",
    title="Cảnh báo",
    environment=Environment.REHEARSAL,
    message_class=MessageClass.ADVISORY,
    instruction="12/CT-UBND, 12-06-2019, Ủy ban nhân dân tỉnh Quảng Ngãi",
    template="T01",
    variant=Variant.ACCENTED,
    values={"b": "2", "a": "1"},
    sender="SKHCN-QNG",
    audience=Audience((AreaCode("21040"), AreaCode("21548")), (CarrierCode("mobifone"), CarrierCode("viettel")), 72, 48, 1000),
    window=DailyWindow(dt.time(7), dt.time(22)),
    start=dt.datetime(2026, 12, 1, 1, tzinfo=dt.UTC),
    start_within_h=24,
    deadline_h=48,
    validity_h=12,
    override_refusals=False,
    unknown_policy=UnknownPolicy.AT_MOST_ONCE,
    max_tps={CarrierCode("viettel"): 200, CarrierCode("mobifone"): 50},
)


@pytest.mark.parametrize("order", [ORDER, replace(ORDER, start=None, window=DailyWindow(dt.time(0), dt.time(0)), max_tps={})])
def test_an_order_survives_json(order: Order) -> None:
    assert order_from_json(json.loads(json.dumps(order_to_json(order)))) == order


def test_equal_orders_give_equal_bytes() -> None:
    hanoi = dt.timezone(dt.timedelta(hours=7))
    same = replace(
        ORDER,
        values={"a": "1", "b": "2"},
        start=dt.datetime(2026, 12, 1, 8, tzinfo=hanoi),
        max_tps={CarrierCode("mobifone"): 50, CarrierCode("viettel"): 200},
    )
    assert json.dumps(order_to_json(same)) == json.dumps(order_to_json(ORDER))


def test_every_field_of_an_order_reaches_the_json() -> None:
    written = order_to_json(ORDER)
    assert set(written) == set(Order.__slots__)
    assert set(written["audience"]) == set(Audience.__slots__)
    assert json.dumps(written) == json.dumps(written, sort_keys=True)


@pytest.mark.parametrize("text", ["07:00-22:00", "00:00-00:01", "22:00-24:00", "all-day"])
def test_a_window_is_written_as_it_was_read(text: str) -> None:
    assert window_text(parse_window(text)) == text


@pytest.mark.parametrize(
    "text", ["", "7:00-22:00", "22:00-07:00", "07:00-07:00", "07:00-25:00", "07:60-22:00", "07:00 - 22:00", "24:00-24:00"]
)
def test_a_bad_window_is_explained_in_both_languages(text: str) -> None:
    with pytest.raises(ValueError, match="all-day") as caught:
        parse_window(text)
    assert isinstance(caught.value.args[0], Said)

"""Framing: any chunking gives the same PDUs (F20, F21), bad lengths end the stream and nothing is lost ahead of them (F22)."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.smpp import RemoteProtocolError
from broadcaster.smpp.frame import MOST_OCTETS, Frame, Framer


def octets(frame: Frame) -> bytes:
    command, status, sequence, body = frame
    return struct.pack(">IIII", 16 + len(body), command, status, sequence) + body


WORD = st.integers(0, 0xFFFFFFFF)
FRAMES = st.lists(st.tuples(WORD, WORD, WORD, st.binary(max_size=60)), max_size=12)


@given(FRAMES, st.data())
def test_any_chunking_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(octets, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    framer = Framer()
    got: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += framer.feed(stream[start:end])
    assert got == frames
    assert not framer.partial


def test_one_octet_at_a_time() -> None:
    frames: list[Frame] = [(4, 0, n, bytes(n)) for n in range(1, 40)]
    framer = Framer()
    got = [frame for octet in b"".join(map(octets, frames)) for frame in framer.feed(bytes([octet]))]
    assert got == frames


def test_two_hundred_pdus_in_one_segment() -> None:
    frames: list[Frame] = [(0x80000004, 0, n, b"id\0") for n in range(200)]
    assert Framer().feed(b"".join(map(octets, frames))) == frames


@pytest.mark.parametrize("body", [0, MOST_OCTETS - 16])
def test_the_bounds_are_inside(body: int) -> None:
    frame: Frame = (5, 0, 1, bytes(body))
    assert Framer().feed(octets(frame)) == [frame]


@pytest.mark.parametrize("body", [MOST_OCTETS - 15, 2 * MOST_OCTETS])
def test_a_pdu_beyond_the_bound_is_refused_even_if_it_is_all_there(body: int) -> None:
    good: Frame = (0x80000004, 0, 9, b"abc\0")
    with pytest.raises(RemoteProtocolError, match=f"command_length {body + 16} ") as caught:
        Framer().feed(octets(good) + octets((5, 0, 1, bytes(body))))
    assert caught.value.before == [good]


def test_the_bound_is_64_kib() -> None:
    assert MOST_OCTETS == 65_536


BAD_LENGTHS = [*range(16), 0x48545450, MOST_OCTETS + 1, 0x7FFFFFFF, 0x30000000, 0xFFFFFFFF, 0x00100000]


@pytest.mark.parametrize("length", BAD_LENGTHS)
@pytest.mark.parametrize("available", [4, 8, 16, 40])
def test_lengths_outside_the_bounds_lose_the_stream_but_not_what_came_before(length: int, available: int) -> None:
    good: Frame = (0x80000004, 0, 9, b"abc\0")
    bad = (struct.pack(">I", length) + bytes(36))[:available]
    with pytest.raises(RemoteProtocolError, match=f"command_length {length} ") as caught:
        Framer().feed(octets(good) + bad)
    assert caught.value.before == [good]


def test_a_bad_length_is_seen_when_its_last_octet_comes() -> None:
    framer = Framer()
    for octet in b"HTT":
        assert framer.feed(bytes([octet])) == []
    with pytest.raises(RemoteProtocolError):
        framer.feed(b"P")


def test_partial_tells_whether_a_pdu_has_begun() -> None:
    framer = Framer()
    assert not framer.partial
    whole = octets((0x15, 0, 1, b""))
    framer.feed(whole + whole[:3])
    assert framer.partial
    framer.feed(whole[3:])
    assert not framer.partial


def test_an_announced_length_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        framer = Framer()
        framer.feed(struct.pack(">IIII", MOST_OCTETS, 5, 0, 1))
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()

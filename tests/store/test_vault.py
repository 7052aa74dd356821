"""Numbers at rest."""

from __future__ import annotations

import base64
import hashlib
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, StoreError
from broadcaster.store.vault import Vault, commitment, commitment_of_blocks, read_key_file, write_key_file

VAULT = Vault(bytes(range(32)))
OTHER = Vault(bytes(32))

numbers = st.integers(84_000_000_000, 84_999_999_999)


@given(st.lists(numbers))
def test_round_trip(listed: list[int]) -> None:
    tokens = VAULT.tokens(listed)
    assert VAULT.reveal(tokens) == listed
    assert all(len(token) == 16 for token in tokens)
    assert len(set(tokens)) == len(set(listed))
    assert tokens == [VAULT.token(number) for number in listed]


@given(numbers)
def test_a_token_hides_its_number(number: int) -> None:
    token = VAULT.token(number)
    assert number.to_bytes(8, "big")[3:] not in token
    assert token != OTHER.token(number)


@given(numbers, st.integers(0, 127))
def test_a_flipped_bit_is_noticed(number: int, bit: int) -> None:
    token = bytearray(VAULT.token(number))
    token[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StoreError):
        VAULT.reveal([VAULT.token(84912345678), bytes(token)])


@pytest.mark.parametrize("tokens", [[b""], [b"short"], [b"a" * 15, b"b" * 17], [b"a" * 32], [b"a" * 17]])
def test_tokens_of_another_length_are_noticed(tokens: list[bytes]) -> None:
    with pytest.raises(StoreError):
        VAULT.reveal(tokens)


def test_another_key_is_noticed() -> None:
    with pytest.raises(StoreError):
        OTHER.reveal(VAULT.tokens([84912345678]))
    assert OTHER.fingerprint != VAULT.fingerprint


def test_errors_and_repr_show_neither_number_nor_key() -> None:
    with pytest.raises(StoreError) as caught:
        OTHER.reveal(VAULT.tokens([84912345678]))
    assert "912345678" not in str(caught.value)
    assert bytes(range(32)).hex() not in repr(VAULT)


@given(st.lists(numbers, min_size=1), st.randoms(use_true_random=False))
def test_commitment_is_of_the_set(listed: list[int], random: object) -> None:
    shuffled = listed + listed[:1]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert commitment(listed, b"salt") == commitment(shuffled, b"salt")
    assert commitment(listed, b"salt") != commitment(listed, b"other")
    assert commitment(listed, b"salt") != commitment([*listed, max(listed) + 1], b"salt")


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    write_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key_file(path)) == 32
    before = path.read_bytes()
    with pytest.raises(ConfigurationError):
        write_key_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_file_open_to_others(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vault.key"
    write_key_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        read_key_file(path)
    assert caught.value.hint is not None
    assert "chmod 600" in caught.value.hint.en


@pytest.mark.parametrize("content", [b"", b"abc", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), b"\xff\xfe"])
def test_a_damaged_key_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        read_key_file(path)


def test_a_key_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.key", tmp_path):
        with pytest.raises(ConfigurationError):
            read_key_file(path)


@given(st.lists(st.integers(84_300_000_000, 84_999_999_999), max_size=60))
def test_a_commitment_over_blocks_is_that_over_the_numbers(numbers: list[int]) -> None:
    by_head: dict[int, array[int]] = {}
    for number in numbers:
        by_head.setdefault(number // 10_000_000, array("Q")).append(number)
    blocks = [by_head[head] for head in sorted(by_head)]
    assert commitment_of_blocks(blocks, b"salt") == commitment(reversed(numbers), b"salt")
    plain = b"".join(number.to_bytes(8, "big") for number in sorted(set(numbers)))
    assert commitment(numbers, b"salt") == hashlib.sha256(b"broadcaster-roster-v1" + b"salt" + plain).hexdigest()


@given(st.lists(st.text(), max_size=4))
def test_a_sealed_text_opens_and_says_nothing_by_itself(texts: list[str]) -> None:
    vault = VAULT
    sealed = [vault.seal_text(text) for text in texts]
    assert sealed == [vault.seal_text(text) for text in texts]
    assert all("0912345678" not in vault.seal_text(f"{text}0912345678") for text in texts)
    assert vault.open_text(" ".join(piece for piece in sealed if piece)) == "".join(texts)


def test_a_sealed_text_that_was_altered_or_is_anothers_is_refused() -> None:
    sealed = VAULT.seal_text("LD 0912345678")
    for vault, text in ((OTHER, sealed), (VAULT, f"{sealed[:-8]}AAAA{sealed[-4:]}"), (VAULT, f"{sealed}?")):
        with pytest.raises(StoreError):
            vault.open_text(text)

"""The card's own authority: where it is read from, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from broadcaster.errors import InvalidFileError
from broadcaster.files.carriers import read_card
from broadcaster.link.backoff import Pace
from broadcaster.link.certificates import Authority

CARD = """
name = "Thử"
environment = "rehearsal"
mnc = "99"
host = "localhost"
port = 2775
system_id = "dien-tap"
tps = "unlimited"
"""


def card_with(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "thu.toml"
    path.write_text(CARD + "\n".join(lines) + "\n")
    return path


def test_an_authority_lies_beside_its_card(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    assert read_card(card_with(tmp_path, "tls = true", 'tls_ca = "ca.pem"'), {}).tls_ca == tmp_path / "ca.pem"
    assert read_card(card_with(tmp_path, "tls = true", 'tls_ca = ""'), {}).tls_ca is None
    assert read_card(card_with(tmp_path), {}).tls_ca is None


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
def test_a_file_that_holds_no_certificate_is_a_problem_of_its_key(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(InvalidFileError) as caught:
        read_card(card_with(tmp_path, "tls = true", 'tls_ca = "ca.pem"'), {})
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [("tls_ca", 10)]


def test_an_authority_without_tls_is_a_contradiction(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    with pytest.raises(InvalidFileError):
        read_card(card_with(tmp_path, 'tls_ca = "ca.pem"'), {})


def test_a_pace_gives_one_start_a_time() -> None:
    pace = Pace(5.0)
    assert [pace.wait_s(100.0), pace.wait_s(100.0), pace.wait_s(101.0)] == [0.0, 5.0, 9.0]
    assert pace.wait_s(200.0) == 0.0

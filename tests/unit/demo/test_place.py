"""The demo keeps its hands off what it did not make, and its rehearsal files read as the product's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from broadcaster.files.areas import read_areas
from broadcaster.files.campaigns import read_order
from broadcaster.files.carriers import read_cards
from broadcaster.link.temperament import read_temperament
from broadcaster.model import CarrierCode, Environment
from demo.generate import NETWORKS
from demo.place import MARKER, ORDER, ForeignFolderError, Rate, claim_folder, free_ports, rates, with_values, write_cards, write_order

CODES = [str(network.code) for network in NETWORKS]


def test_a_folder_that_the_demo_did_not_make_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "report.html").write_text("kept")
    with pytest.raises(ForeignFolderError):
        claim_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_a_marker_that_is_a_link_does_not_make_a_folder_the_demos(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (tmp_path / "elsewhere").write_text("kept")
    (folder / MARKER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFolderError):
        claim_folder(folder)


def test_a_link_to_a_folder_of_the_demo_is_refused(tmp_path: Path) -> None:
    os.close(claim_folder(tmp_path / "real"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ForeignFolderError):
        claim_folder(tmp_path / "link")


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("kept")
    with pytest.raises(ForeignFolderError):
        claim_folder(tmp_path / "state")
    assert (tmp_path / "state").read_text() == "kept"


def test_a_folder_of_the_demo_is_emptied_but_links_in_it_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    os.close(claim_folder(tmp_path / "state"))
    (tmp_path / "state" / "old").mkdir()
    (tmp_path / "state" / "old" / "file").touch()
    (tmp_path / "state" / "link").symlink_to(outside)
    os.close(claim_folder(tmp_path / "state"))
    assert [path.name for path in (tmp_path / "state").iterdir()] == [MARKER]
    assert (outside / "kept").exists()


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    lock = claim_folder(tmp_path / "state")
    (tmp_path / "state" / "data").touch()
    with pytest.raises(ForeignFolderError):
        claim_folder(tmp_path / "state")
    assert (tmp_path / "state" / "data").exists()
    os.close(lock)


def test_the_cards_lead_to_the_loopback_and_expect_the_ids_that_the_simulated_carriers_write(tmp_path: Path) -> None:
    ports = dict(zip(CODES, free_ports(len(CODES)), strict=True))
    write_cards(tmp_path, ports, {code: Rate(70, 500) for code in CODES})
    cards = read_cards(tmp_path, {}, Environment.REHEARSAL)
    assert set(cards) == set(CODES)
    for code, card in cards.items():
        temperament = read_temperament(tmp_path / "simulated" / f"{code}.toml")
        assert (card.endpoint.host, card.endpoint.port, card.tps) == ("127.0.0.1", ports[code], 70)
        hexadecimal = (temperament.response_id == "hex", temperament.receipt_id == "hex")
        assert (card.ids.response == "hex", card.ids.receipt == "hex") == hexadecimal
        assert card.password.reveal()
        assert stat.S_IMODE((tmp_path / "secrets" / code).stat().st_mode) == 0o600


def test_an_unlimited_rate_reads_as_unlimited(tmp_path: Path) -> None:
    write_cards(tmp_path, dict.fromkeys(CODES, 2775), {code: Rate(None, 500) for code in CODES})
    assert {card.tps for card in read_cards(tmp_path, {}, Environment.REHEARSAL).values()} == {None}


def test_the_order_is_a_rehearsal_at_any_hour_for_the_whole_province(tmp_path: Path) -> None:
    write_order(tmp_path / f"{ORDER}.toml", 12_345)
    order = read_order(tmp_path / f"{ORDER}.toml", read_areas(), [CarrierCode(code) for code in CODES])
    assert order.environment is Environment.REHEARSAL
    assert order.window.all_day
    assert order.audience.communes == ()
    assert order.audience.max_recipients == 12_345
    assert order.template == "t08-gia-danh"


def test_rates_without_an_asked_one_never_exceed_the_carriers_own() -> None:
    found = rates(dict.fromkeys(CODES, 1_000_000), None)
    assert {code: rate.demo_tps for code, rate in found.items()} == {code: rate.card_tps for code, rate in found.items()}
    assert {rate.demo_tps for rate in rates(dict.fromkeys(CODES, 1), None).values()} == {50}


@pytest.mark.parametrize(("asked", "tps"), [("30", 30), ("unlimited", None)])
def test_an_asked_rate_is_every_carriers(asked: str, tps: int | None) -> None:
    assert {rate.demo_tps for rate in rates(dict.fromkeys(CODES, 1), asked).values()} == {tps}


def test_values_are_replaced_and_missing_keys_noticed() -> None:
    text = 'host = "a"  # where\nport = 1\n\n[more]\nhosts = 2\n'
    assert with_values(text, {"host": 'b"c', "port": (1, 2)}) == 'host = "b\\"c"\nport = [1, 2]\n\n[more]\nhosts = 2\n'
    with pytest.raises(KeyError, match="tls"):
        with_values(text, {"tls": True})

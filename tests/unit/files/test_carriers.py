import datetime as dt
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.carriers import read_card, read_cards
from broadcaster.model import CarrierCard, DailyWindow, Endpoint, Environment, IdRule
from broadcaster.smpp.status import Verdict

SHIPPED = Path(__file__).parents[3] / "carriers"
ENV = {"SMPP_PASSWORD": "secret"}
CARD = """
name = "Viettel"
environment = "live"
mnc = "04"
host = "smpp.invalid"
port = 2775
system_id = "skhcn-qng"
password_env = "SMPP_PASSWORD"
tps = 500
"""


def write(tmp_path: Path, text: str, name: str = "viettel.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def problems(tmp_path: Path, text: str, name: str = "viettel.toml") -> tuple[Problem, ...]:
    with pytest.raises(InvalidFileError) as caught:
        read_card(write(tmp_path, text, name), ENV)
    return caught.value.problems


def test_a_card_is_read_with_its_defaults(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD), ENV)
    assert (card.code, card.environment, card.endpoint) == ("viettel", Environment.LIVE, Endpoint("smpp.invalid", 2775))
    assert card.password.reveal() == "secret"
    assert (card.tps, card.window, card.ids, card.retry_after_s) == (500, 10, IdRule(), (30, 120, 600))


def test_what_a_card_need_not_say_means_the_common_case(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD), ENV)
    assert (card.endpoints, card.binds, card.receipt_scope) == ((card.endpoint,), 1, "all")
    assert (card.gsm_data_coding, card.ucs2_data_coding, card.gsm_alphabet) == (0, 8, "gsm")
    assert (card.validity_form, card.smsc_utc_offset_min) == ("relative", 7 * 60)
    assert (card.hourly_tps, card.closed, card.maintenance) == ((), (), ())
    assert (card.parts_per_day, card.parts_per_month) == (None, None)
    assert (card.user_message_reference, card.cancels) == (False, False)
    assert (card.refused_first_percent, card.refused_recent_percent, card.queue_full_percent) == (50, 20, 10)
    assert (card.queue_full_after_s, card.temporary_recent_percent, card.invalid_recent_percent) == ((60, 180, 600), 20, 5)
    assert (card.enquire_link_s, card.response_timeout_s, card.throttle_pause_s) == (30, 60, 1)


def test_a_carriers_terms_are_read(tmp_path: Path) -> None:
    text = """
alternate_hosts = ["b.invalid:2776", "[2001:db8::1]:2775"]
binds = 4
closed = ["02:00-03:00"]
maintenance = [{ start = 2026-12-01T00:00:00+07:00, end = 2026-12-01T04:00:00+07:00 }]
parts_per_day = 1000000
parts_per_month = "unlimited"
long_text = "sar"
gsm_data_coding = 3
gsm_alphabet = "latin1"
validity_form = "absolute"
smsc_utc_offset_min = -210
receipt_scope = "last"
user_message_reference = true
cancels = true
[[hourly_tps]]
window = "22:00-24:00"
tps = 50
"""
    card = read_card(write(tmp_path, CARD + text), ENV)
    assert card.endpoints == (Endpoint("smpp.invalid", 2775), Endpoint("b.invalid", 2776), Endpoint("2001:db8::1", 2775))
    assert (card.binds, card.parts_per_day, card.parts_per_month) == (4, 1_000_000, None)
    assert card.hourly_tps == ((DailyWindow(dt.time(22), dt.time(0)), 50),)
    assert card.closed == (DailyWindow(dt.time(2), dt.time(3)),)
    assert card.maintenance == ((dt.datetime(2026, 11, 30, 17, tzinfo=dt.UTC), dt.datetime(2026, 11, 30, 21, tzinfo=dt.UTC)),)
    assert (card.long_text, card.gsm_data_coding, card.gsm_alphabet) == ("sar", 3, "latin1")
    assert (card.validity_form, card.smsc_utc_offset_min) == ("absolute", -210)
    assert (card.receipt_scope, card.user_message_reference, card.cancels) == ("last", True, True)


def test_closed_windows_that_leave_a_minute_are_taken(tmp_path: Path) -> None:
    for windows in ('"00:00-11:59", "12:00-24:00"', '"00:01-12:00", "12:00-24:00"', '"00:00-23:59", "01:00-02:00"'):
        assert read_card(write(tmp_path, f"{CARD}closed = [{windows}]\n"), ENV).closed


@pytest.mark.parametrize("line", ['closed = ["22:00-02:00"]', 'hourly_tps = [{ window = "22:00-02:00", tps = 1 }]'])
def test_a_window_across_midnight_is_shown_as_two(tmp_path: Path, line: str) -> None:
    (found,) = problems(tmp_path, f"{CARD}{line}\n")
    assert found.message.vi == "khung giờ không được qua nửa đêm; ghi thành hai khung: 22:00-24:00 và 00:00-02:00"
    assert "all-day" not in found.message.en


def test_any_other_wrong_window_is_shown_a_right_one(tmp_path: Path) -> None:
    for window in ("2:00-3:00", "02:00", "02:00-02:00", "25:00-02:00"):
        (found,) = problems(tmp_path, f'{CARD}closed = ["{window}"]\n')
        assert found.message.vi == "phải là khung giờ dạng 02:00-03:00"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"much"', "true"])
def test_a_wrong_quota_is_told_that_it_may_be_unlimited(tmp_path: Path, value: str) -> None:
    (found,) = problems(tmp_path, f"{CARD}parts_per_day = {value}\n")
    assert '"unlimited"' in found.message.vi
    assert '"unlimited"' in found.message.en


def test_the_password_shows_nowhere(tmp_path: Path) -> None:
    assert "secret" not in repr(read_card(write(tmp_path, CARD), ENV))
    with pytest.raises(InvalidFileError) as caught:
        read_card(write(tmp_path, CARD), {"SMPP_PASSWORD": "secret-too-long"})
    assert "secret-too-long" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "key", "line"),
    [
        ('mnc = "04"', 'mnc = "4"', "mnc", 4),
        ("port = 2775", "port = 0", "port", 6),
        ("port = 2775", 'port = "2775"', "port", 6),
        ('host = "smpp.invalid"', 'host = "smpp invalid"', "host", 5),
        ('"skhcn-qng"', '"skhcn-quang-ngai"', "system_id", 7),
        ('"skhcn-qng"', '"skhcn-quảng"', "system_id", 7),
        ('"live"', '"test"', "environment", 3),
        ("tps = 500", "tps = 0", "tps", 9),
        ("tps = 500", "tps = true", "tps", 9),
        ("tps = 500", 'tps = "fast"', "tps", 9),
        ("tps = 500", "tps = 5\nwindow = 0", "window", 10),
        ("tps = 500", "tps = 5\nwindow = 1001", "window", 10),
        ("tps = 500", "tps = 5\nmax_parts = 11", "max_parts", 10),
        ("tps = 500", "tps = 5\nsource_ton = 7", "source_ton", 10),
        ("tps = 500", 'tps = 5\nlong_text = "udh"', "long_text", 10),
        ("tps = 500", 'tps = 5\nalternate_hosts = ["a.invalid:1", "b.invalid"]', "alternate_hosts", 10),
        ("tps = 500", 'tps = 5\nalternate_hosts = ["a.invalid:65536"]', "alternate_hosts", 10),
        ("tps = 500", 'tps = 5\nalternate_hosts = ["máy.invalid:1"]', "alternate_hosts", 10),
        ("tps = 500", "tps = 5\nbinds = 33", "binds", 10),
        ("tps = 500", "tps = 5\nucs2_data_coding = 256", "ucs2_data_coding", 10),
        ("tps = 500", 'tps = 5\ngsm_alphabet = "utf8"', "gsm_alphabet", 10),
        ("tps = 500", 'tps = 5\nvalidity_form = "days"', "validity_form", 10),
        ("tps = 500", "tps = 5\nsmsc_utc_offset_min = 425", "smsc_utc_offset_min", 10),
        ("tps = 500", "tps = 5\nsmsc_utc_offset_min = 735", "smsc_utc_offset_min", 10),
        ("tps = 500", 'tps = 5\nhourly_tps = [{ window = "22:00-02:00", tps = 1 }]', "hourly_tps[1].window", 10),
        ("tps = 500", 'tps = 5\n[[hourly_tps]]\nwindow = "22:00-24:00"\ntps = 0', "hourly_tps[1].tps", 12),
        ("tps = 500", 'tps = 5\nclosed = ["2:00-3:00"]', "closed", 10),
        ("tps = 500", 'tps = 5\nclosed = ["all-day"]', "closed", 10),
        ("tps = 500", 'tps = 5\nclosed = ["12:00-24:00", "00:00-12:00", "05:00-06:00"]', "closed", 10),
        ("tps = 500", "tps = 5\nparts_per_month = true", "parts_per_month", 10),
        (
            "tps = 500",
            "tps = 5\nmaintenance = [{ start = 2026-12-01T00:00:00, end = 2026-12-02T00:00:00Z }]",
            "maintenance[1].start",
            10,
        ),
        ("tps = 500", "tps = 5\nmaintenance = [{ start = 2026-12-01T00:00:00Z, end = 2026-12-01T00:00:00Z }]", "maintenance[1]", 10),
        ("tps = 500", "tps = 5\nparts_per_day = 0", "parts_per_day", 10),
        ("tps = 500", 'tps = 5\nparts_per_month = "much"', "parts_per_month", 10),
        ("tps = 500", 'tps = 5\nreceipt_scope = "some"', "receipt_scope", 10),
        ("tps = 500", 'tps = 5\ncancels = "no"', "cancels", 10),
        ("tps = 500", "tps = 5\nrefused_recent_percent = 0", "refused_recent_percent", 10),
        ("tps = 500", "tps = 5\nqueue_full_percent = 101", "queue_full_percent", 10),
        ("tps = 500", "tps = 5\ntemporary_recent_percent = 0", "temporary_recent_percent", 10),
        ("tps = 500", "tps = 5\ninvalid_recent_percent = 101", "invalid_recent_percent", 10),
        ("tps = 500", "tps = 5\nqueue_full_after_s = [0]", "queue_full_after_s[1]", 10),
        ("tps = 500", 'tps = 5\nresponse_id = "octal"', "response_id", 10),
        ("tps = 500", 'tps = 5\nreceipt_means = "maybe"', "receipt_means", 10),
        ("tps = 500", "tps = 5\nenquire_link_s = 0", "enquire_link_s", 10),
        ("tps = 500", "tps = 5\nresponse_timeout_s = nan", "response_timeout_s", 10),
        ("tps = 500", "tps = 5\nretry_after_s = [60, 0]", "retry_after_s[2]", 10),
        ("tps = 500", 'tps = 5\nassumed = ["tsp"]', "assumed", 10),
        ("tps = 500", 'tps = 5\npasswort_env = "X"', "passwort_env", 10),
        ("tps = 500", 'tps = 5\n[status_verdicts]\n"0x400" = "perhaps"', "status_verdicts.0x400", 11),
        ("tps = 500", 'tps = 5\n[status_verdicts]\nRSYSERR = "refused"', "status_verdicts", 10),
        ("tps = 500", 'tps = 5\nreceipt_form = "xml"', "receipt_form", 10),
        ("tps = 500", 'tps = 5\n[receipt_states]\nHETHAN = "gone"', "receipt_states.HETHAN", 11),
        ("tps = 500", 'tps = 5\n[receipt_states]\n"het han" = "expired"', "receipt_states", 10),
        ("tps = 500", 'tps = 5\n[receipt_states]\n"stat:X" = "expired"', "receipt_states", 10),
        ("tps = 500", 'tps = 5\n[receipt_states]\n"err:45" = "expired"\n"ERR:045" = "deleted"', "receipt_states", 10),
    ],
)
def test_each_wrong_value_names_its_key_and_line(tmp_path: Path, old: str, new: str, key: str, line: int) -> None:
    assert [(problem.key, problem.line) for problem in problems(tmp_path, CARD.replace(old, new))] == [(key, line)]


def test_all_wrong_values_come_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, CARD.replace("2775", "0").replace('"04"', '"x"').replace("500", "-1"))
    assert {problem.key for problem in found} == {"port", "mnc", "tps"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tps = 500", 'tps = "unlimited"'),
        ('password_env = "SMPP_PASSWORD"', ""),
        ("tps = 500", 'tps = 500\npassword_file = "secret"'),
        ("tps = 500", 'tps = 500\nhourly_tps = [{ window = "22:00-24:00", tps = 501 }]'),
        ("tps = 500", "tps = 500\ngsm_data_coding = 8"),
    ],
)
def test_what_a_live_card_may_not_say(tmp_path: Path, old: str, new: str) -> None:
    assert len(problems(tmp_path, CARD.replace(old, new))) == 1


def test_a_rehearsal_card_may_be_unlimited_and_without_password(tmp_path: Path) -> None:
    text = CARD.replace('"live"', '"rehearsal"').replace("500", '"unlimited"').replace('password_env = "SMPP_PASSWORD"', "")
    card = read_card(write(tmp_path, text), {})
    assert (card.tps, card.password.reveal(), card.environment) == (None, "", Environment.REHEARSAL)


@pytest.mark.parametrize("password", [None, "", "ninechars", "mật"])
def test_an_unusable_password_from_the_environment_is_refused(tmp_path: Path, password: str | None) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_card(write(tmp_path, CARD), {} if password is None else {"SMPP_PASSWORD": password})
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [("password_env", 8)]


def test_a_password_file_lies_beside_the_card_and_is_its_owners_alone(tmp_path: Path) -> None:
    card = write(tmp_path, CARD.replace('password_env = "SMPP_PASSWORD"', 'password_file = "viettel.secret"'))
    with pytest.raises(InvalidFileError, match=r"viettel\.secret"):
        read_card(card, {})
    secret = tmp_path / "viettel.secret"
    secret.write_text("s3cret\n")
    for mode in (0o644, 0o640, 0o604):
        secret.chmod(mode)
        with pytest.raises(InvalidFileError, match=f"{mode:04o}"):
            read_card(card, {})
    for mode in (0o600, 0o400):
        secret.chmod(mode)
        assert read_card(card, {}).password.reveal() == "s3cret"


def test_status_codes_may_be_hexadecimal_or_decimal(tmp_path: Path) -> None:
    text = CARD + '[status_verdicts]\n"0x0400" = "refused"\n1025 = "temporary"\n'
    assert read_card(write(tmp_path, text), ENV).status_verdicts == {0x400: Verdict.REFUSED, 0x401: Verdict.TEMPORARY}


def test_a_carriers_own_receipts_are_described(tmp_path: Path) -> None:
    assert (read_card(write(tmp_path, CARD), ENV).receipt_form, read_card(write(tmp_path, CARD), ENV).receipt_states) == ("smpp", {})
    card = read_card(
        write(tmp_path, CARD + 'receipt_form = "comma"\n[receipt_states]\nHETHAN = "expired"\n"err:045" = "unknown"\n'), ENV
    )
    assert (card.receipt_form, dict(card.receipt_states)) == ("comma", {"HETHAN": "expired", "err:045": "unknown"})


@pytest.mark.parametrize("name", ["Viettel.toml", "mạng.toml", "4g.toml", "a b.toml"])
def test_a_card_must_be_named_by_a_code(tmp_path: Path, name: str) -> None:
    assert len(problems(tmp_path, CARD, name)) == 1


def test_cards_of_the_other_environment_are_refused(tmp_path: Path) -> None:
    write(tmp_path, CARD)
    assert set(read_cards(tmp_path, ENV, Environment.LIVE)) == {"viettel"}
    with pytest.raises(InvalidFileError) as caught:
        read_cards(tmp_path, ENV, Environment.REHEARSAL)
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [("environment", 3)]


def test_problems_of_all_cards_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, CARD.replace("500", "0"), "a.toml")
    write(tmp_path, CARD.replace("2775", "0"), "b.toml")
    with pytest.raises(InvalidFileError) as caught:
        read_cards(tmp_path, ENV, Environment.LIVE)
    assert [(Path(problem.file).name, problem.key) for problem in caught.value.problems] == [("a.toml", "tps"), ("b.toml", "port")]


def test_a_folder_without_cards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_cards(tmp_path, ENV, Environment.LIVE)


def shipped_cards(tmp_path: Path) -> dict[str, CarrierCard]:
    (tmp_path / "secrets").mkdir()
    for path in SHIPPED.glob("*.toml"):
        write(tmp_path, path.read_text("utf-8"), path.name)
        secret = tmp_path / "secrets" / path.stem
        secret.write_text("secret")
        secret.chmod(0o600)
    return {str(code): card for code, card in read_cards(tmp_path, {}, Environment.LIVE).items()}


def test_the_five_shipped_cards_are_sound_and_reach_nobody(tmp_path: Path) -> None:
    cards = shipped_cards(tmp_path)
    assert {code: card.mnc for code, card in cards.items()} == {
        "viettel": "04",
        "vinaphone": "02",
        "mobifone": "01",
        "vietnamobile": "05",
        "gmobile": "07",
    }
    for card in cards.values():
        assert card.endpoint.host.endswith(".invalid")
        assert {"tps", "window", "response_id", "receipt_means"} <= set(card.assumed)
        assert card.tps is not None
        assert 10 <= card.window <= 100


def test_the_shipped_cards_write_out_every_key() -> None:
    keys = {"name", "environment", "password_file", "alternate_hosts", *CarrierCard.__slots__}
    keys -= {"code", "endpoint", "alternates", "password", "ids"}
    for path in SHIPPED.glob("*.toml"):
        lines = path.read_text("utf-8").splitlines()
        assert {key for key in keys if not any(line.startswith((f"{key} = ", f"[{key}]")) for line in lines)} == set(), path.name


def test_the_rehearsal_cards_mirror_the_live_ones_and_stay_on_this_machine(tmp_path: Path) -> None:
    live = shipped_cards(tmp_path)
    rehearsal = read_cards(SHIPPED / "rehearsal", {}, Environment.REHEARSAL)
    assert set(rehearsal) == set(live)
    assert {card.endpoint.host for card in rehearsal.values()} == {"127.0.0.1"}
    assert len({card.endpoint.port for card in rehearsal.values()}) == 5
    for code, card in rehearsal.items():
        assert (card.mnc, card.tps, card.max_parts, card.allow_unicode) == (
            live[code].mnc,
            live[code].tps,
            live[code].max_parts,
            live[code].allow_unicode,
        )

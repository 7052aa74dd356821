import tomllib
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.carriers import read_cards
from broadcaster.files.settings import Settings, load_settings
from broadcaster.model import Environment

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_passes_and_writes_out_every_key() -> None:
    settings = load_settings(EXAMPLE, {})
    assert set(tomllib.loads(EXAMPLE.read_text("utf-8"))) == set(Settings.model_fields)
    assert settings.environment is Environment.REHEARSAL
    assert len(read_cards(settings.carriers_folder, {}, settings.environment)) == 5
    assert settings.templates_folder.is_dir()


def test_every_key_of_the_example_has_a_comment_above_its_group() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    groups = "\n".join(lines).split("\n\n")
    for group in groups[1:]:
        assert group.startswith("# "), group


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings(None, {})
    assert settings.environment is Environment.REHEARSAL
    assert settings.state_folder == Path("state").absolute()
    assert settings.database_url == f"sqlite:///{settings.state_folder}/broadcaster.db"
    assert (settings.window.opens.hour, settings.window.closes.hour) == (7, 22)


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, 'log_level = "warning"\nlog_format = "json"\nreply_number = "8123"\n')
    env = {"BROADCASTER_LOG_LEVEL": "error", "BROADCASTER_LOG_FORMAT": "text", "LOG_LEVEL": "info"}
    settings = load_settings(path, env, {"log_level": "debug"})
    assert (settings.log_level, settings.log_format, settings.reply_number) == ("debug", "text", "8123")
    assert settings.sending_hours == "07:00-22:00"


def test_paths_of_the_file_count_from_its_folder_and_others_from_here(tmp_path: Path) -> None:
    path = write(tmp_path, 'state_folder = "data"\npeople_file = "/etc/people.toml"\n')
    settings = load_settings(path, {"BROADCASTER_TEMPLATES_FOLDER": "texts"}, {"carriers_folder": "cards"})
    assert settings.state_folder == tmp_path / "data"
    assert settings.vault_key_file == tmp_path / "vault.key"
    assert settings.people_file == Path("/etc/people.toml")
    assert settings.templates_folder == Path("texts").absolute()
    assert settings.carriers_folder == Path("cards").absolute()
    assert settings.database_url == f"sqlite:///{tmp_path}/data/broadcaster.db"


def test_the_database_follows_a_state_folder_given_by_flag(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""), {}, {"state_folder": str(tmp_path / "other")})
    assert settings.database_url == f"sqlite:///{tmp_path}/other/broadcaster.db"
    given = load_settings(write(tmp_path, 'database_url = "sqlite:////x.db"'), {})
    assert given.database_url == "sqlite:////x.db"


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('environment = "test"', "environment", 1),
        ('\nreply_number = "123"', "reply_number", 2),
        ("reply_number = 8123", "reply_number", 1),
        ('reply_number = "5656"', "reply_number", 1),
        ('sending_hours = "all-day"', "sending_hours", 1),
        ('sending_hours = "22:00-07:00"', "sending_hours", 1),
        ('organisation = ""', "organisation", 1),
        ('log_level = "loud"', "log_level", 1),
        ("state_folder = 5", "state_folder", 1),
        ('database_url = "nonsense"', "database_url", 1),
        ('database_url = "postgresql://localhost/broadcaster"', "database_url", 1),
        ('database_url = "sqlite://"', "database_url", 1),
        ('database_url = "sqlite:///"', "database_url", 1),
        ('database_url = "sqlite:///:memory:"', "database_url", 1),
        ("approvals = 1", "approvals", 1),
        ('refusal_alternative = ""', None, None),
        ('refusal_alternative = "Từ chối: soạn TC gửi UBND xã."', None, None),
    ],
)
def test_each_wrong_value_names_its_key_and_line(tmp_path: Path, text: str, key: str | None, line: int | None) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidFileError) as caught:
        load_settings(path, {})
    assert [(problem.file, problem.key, problem.line) for problem in caught.value.problems] == [(str(path), key, line)]


def test_wrong_variables_and_flags_are_named_as_people_write_them() -> None:
    with pytest.raises(InvalidFileError) as caught:
        load_settings(None, {"BROADCASTER_REPLY_NUMBER": "12", "BROADCASTER_LOG_LEVEL": "loud"})
    assert {problem.file for problem in caught.value.problems} == {"BROADCASTER_REPLY_NUMBER", "BROADCASTER_LOG_LEVEL"}
    with pytest.raises(InvalidFileError) as caught:
        load_settings(None, {}, {"log_level": "loud"})
    assert caught.value.problems[0].file == "--log-level"


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_settings(tmp_path / "config.toml", {})


@pytest.mark.parametrize("table", ["metrics", "alarms"])
def test_the_example_writes_out_every_key_of_a_table(table: str) -> None:
    written = tomllib.loads(EXAMPLE.read_text("utf-8"))[table]
    defaults = getattr(load_settings(None, {}), table)
    assert getattr(load_settings(EXAMPLE, {}), table) == defaults
    assert set(written) == set(type(defaults).model_fields)


def test_tables_survive_what_environment_and_flags_change(tmp_path: Path) -> None:
    path = write(tmp_path, '[metrics]\nport = 9108\n[alarms]\ncommand = ["/bin/sh", "-c", "x"]\nwebhook = "https://bao.invalid/x"\n')
    settings = load_settings(path, {"BROADCASTER_LOG_LEVEL": "error", "BROADCASTER_METRICS": "9"}, {"log_format": "json"})
    assert settings.metrics.port == 9108
    assert settings.alarms.command == ("/bin/sh", "-c", "x")
    assert (settings.log_level, settings.log_format) == ("error", "json")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://localhost/", "http://[::1]:9/", "https://bao.invalid/x", ""])
def test_an_alarm_may_go_to_this_machine_or_over_tls(tmp_path: Path, url: str) -> None:
    assert load_settings(write(tmp_path, f'[alarms]\nwebhook = "{url}"'), {}).alarms.webhook == url


@pytest.mark.parametrize(
    "url", ["http://bao.invalid/x", "http://127.0.0.1.invalid/", "ftp://127.0.0.1/", "https://", "x", "https://bao.invalid:port/"]
)
def test_an_alarm_may_not_be_read_on_the_way(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        load_settings(write(tmp_path, f'\n[alarms]\nwebhook = "{url}"'), {})
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [("alarms.webhook", 3)]
    assert "https://" in caught.value.problems[0].message.en

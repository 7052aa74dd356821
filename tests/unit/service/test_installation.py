"""An installation opens only with its own keys, environment and version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError, StoreError
from broadcaster.files.settings import load_settings
from broadcaster.model import Environment
from broadcaster.service.installation import CONFIG_FILE, initialise, open_installation
from broadcaster.store.engine import Store
from broadcaster.store.vault import write_key_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    initialise(tmp_path / "here", Environment.REHEARSAL, actor="test")
    return tmp_path / "here"


def opened(folder: Path):
    return open_installation(load_settings(folder / CONFIG_FILE, {}), actor="test")


def test_it_is_made_whole_private_and_only_once(folder):
    here = opened(folder)
    assert here.people() == {}
    assert len(here.areas()) == 96
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    with pytest.raises(ConfigurationError, match=r"trống|empty"):
        initialise(folder, Environment.REHEARSAL, actor="test")


@pytest.mark.parametrize("key", ["vault.key", "audit.key"])
def test_another_installations_key_is_refused(folder, key):
    (folder / key).unlink()
    write_key_file(folder / key)
    with pytest.raises(ConfigurationError) as caught:
        opened(folder)
    assert key in caught.value.message.en


@pytest.mark.parametrize("key", ["vault.key", "audit.key"])
def test_a_key_that_is_missing_damaged_or_open_to_others_is_refused(folder, key):
    path = folder / key
    path.chmod(0o644)
    with pytest.raises(ConfigurationError):
        opened(folder)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigurationError):
        opened(folder)
    path.unlink()
    with pytest.raises(ConfigurationError):
        opened(folder)


def test_rehearsal_and_live_do_not_mix(folder):
    config = folder / CONFIG_FILE
    config.write_text(config.read_text().replace('"rehearsal"', '"live"'))
    with pytest.raises(ConfigurationError) as caught:
        opened(folder)
    assert "rehearsal" in caught.value.message.en


def test_another_version_is_refused(folder):
    here = opened(folder)
    with here.store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError) as caught:
        opened(folder)
    assert "9999" in caught.value.message.en


def test_a_missing_database_is_no_empty_one(folder):
    path = opened(folder).store.path
    path.unlink()
    with pytest.raises(StoreError):
        opened(folder)
    assert not path.exists()


def test_a_database_others_can_read_is_refused(folder):
    opened(folder).store.path.chmod(0o644)
    with pytest.raises(ConfigurationError):
        opened(folder)


def test_the_register_is_read_anew_when_it_changes_and_missing_is_not_empty(folder):
    here = opened(folder)
    assert here.people() == {}
    people = folder / "people.toml"
    people.write_text("[[person]\n")
    os.utime(people, ns=(1, 1))
    with pytest.raises(InvalidFileError):
        here.people()
    people.unlink()
    with pytest.raises(ConfigurationError):
        here.people()
    people.touch(0o600)
    assert here.people() == {}


def test_a_database_without_its_row_is_refused(folder):
    here = opened(folder)
    with Store(str(here.store.url)).write() as connection:
        connection.exec_driver_sql("DELETE FROM installation")
    with pytest.raises(StoreError):
        opened(folder)

import base64
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey

from broadcaster.errors import ConfigurationError, InvalidFileError, RefusedError
from broadcaster.files.people import add_person, generate_key, public_key_of, read_people, read_private_key, write_key
from broadcaster.model import Person, Role

LEADER = Person("lanh-dao-so", 'Lãnh đạo Sở "KHCN"', frozenset({Role.APPROVER, Role.AUDITOR}), bytes(range(32)))
POLICE = Person("cong-an-tinh", "Công an tỉnh", frozenset({Role.CONTENT_AUTHORITY}), bytes(32))


def entry(name: str = "lanh-dao-so", key: bytes = bytes(32), roles: str = '"approver"', title: str = "Lãnh đạo Sở") -> str:
    public_key = base64.b64encode(key).decode()
    return f'[[person]]\nname = "{name}"\ntitle = "{title}"\nroles = [{roles}]\npublic_key = "{public_key}"\n'


def test_people_are_added_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    add_person(path, LEADER)
    add_person(path, POLICE)
    assert read_people(path) == {LEADER.name: LEADER, POLICE.name: POLICE}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["people.toml"]


def test_adding_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    path.write_text("# theo quyết định phân công\n" + entry(), "utf-8")
    add_person(path, replace(LEADER, name="truc-ban"))
    assert path.read_text("utf-8").startswith("# theo quyết định phân công\n")
    assert set(read_people(path)) == {"lanh-dao-so", "truc-ban"}


@pytest.mark.parametrize("other", [replace(POLICE, name=LEADER.name), replace(POLICE, public_key=LEADER.public_key)])
def test_a_name_or_a_key_is_never_added_twice(tmp_path: Path, other: Person) -> None:
    path = tmp_path / "people.toml"
    add_person(path, LEADER)
    before = path.read_bytes()
    with pytest.raises(RefusedError):
        add_person(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "person",
    [
        replace(LEADER, name="Lãnh đạo"),
        replace(LEADER, public_key=b"short"),
        replace(LEADER, roles=frozenset()),
        replace(LEADER, title=""),
    ],
)
def test_an_unsound_person_is_not_written(tmp_path: Path, person: Person) -> None:
    path = tmp_path / "people.toml"
    with pytest.raises(InvalidFileError):
        add_person(path, person)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (entry(name="Lãnh đạo"), "person[1].name", 2),
        (entry(title=""), "person[1].title", 3),
        (entry(roles='"king"'), "person[1].roles[1]", 4),
        (entry(roles=""), "person[1].roles", 4),
        (entry(key=b"short"), "person[1].public_key", 5),
        (entry().replace('public_key = "', 'public_key = "!'), "person[1].public_key", 5),
        (entry() + entry(key=bytes(31) + b"1"), "person[2].name", 7),
        (entry() + entry(name="other"), "person[2].public_key", 10),
        (entry() + "email = 1\n", "person[1].email", 6),
    ],
)
def test_each_wrong_entry_names_its_key_and_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    path = tmp_path / "people.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidFileError) as caught:
        read_people(path)
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [(key, line)]


def test_a_key_is_written_for_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "lanh-dao-so.pem"
    key = generate_key()
    write_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_key_of(read_private_key(path)) == public_key_of(key)
    assert len(public_key_of(key)) == 32


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_key(path, generate_key())
    before = path.read_bytes()
    with pytest.raises(RefusedError):
        write_key(path, generate_key())
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    write_key(path, generate_key())
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{mode:04o}"):
        read_private_key(path)


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    other = Ed448PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = generate_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    path = tmp_path / "key.pem"
    for data in (b"", b"not a key", other, locked):
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="Ed25519"):
            read_private_key(path)


def test_a_missing_key_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_private_key(tmp_path / "nowhere.pem")

"""`broadcaster person`: who may submit and sign."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say
from broadcaster.model import Role

if TYPE_CHECKING:
    from broadcaster.model import Person

commands = Group(
    "person", help=say("Người có quyền trong hệ thống và khóa ký của họ.", "People with a role here, and their signing keys.")
)


@commands.command(
    "add",
    help=say(
        "Thêm một người với vai trò và khóa công khai; --new-key tạo luôn cặp khóa Ed25519 và ghi khóa riêng ra tệp.",
        "Add a person with roles and a public key; --new-key makes an Ed25519 pair and writes the private half to a file.",
    ),
)
@click.argument(
    "name",
    metavar=say("TÊN", "NAME"),
    help=say(
        "Tên ngắn của chức danh: chữ thường không dấu, số, gạch nối, ví dụ lanh-dao-so.",
        "Short name of the office: lower-case letters, digits, hyphens, such as lanh-dao-so.",
    ),
)
@click.option(
    "--title",
    required=True,
    metavar=say("CHỨC_DANH", "TITLE"),
    help=say('Chức danh in trên báo cáo, ví dụ "Phó Giám đốc Sở".', 'Title as reports print it, such as "Deputy director".'),
)
@click.option(
    "--role",
    "roles",
    required=True,
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    help=say(
        "Vai trò; ghi nhiều lần được. approver và duty-officer được ký duyệt; operator và author được trình.",
        "Role; may be repeated. approver and duty-officer sign; operator and author submit.",
    ),
)
@click.option(
    "--public-key",
    metavar="BASE64",
    help=say("Khóa công khai Ed25519 (32 byte) viết bằng base64.", "Ed25519 public key (32 bytes) in base64."),
)
@click.option(
    "--new-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Tạo khóa mới, ghi khóa riêng vào tệp này (quyền 0600, không ghi đè).",
        "Make a new key and write its private half to this file (mode 0600, never overwritten).",
    ),
)
def add(name: str, title: str, roles: Sequence[str], public_key: str | None, new_key: Path | None) -> None:
    from broadcaster.files.people import add_person
    from broadcaster.model import Person

    if (public_key is None) == (new_key is None):
        raise click.UsageError(
            say("phải ghi đúng một trong --public-key và --new-key", "give exactly one of --public-key and --new-key")
        )
    installation = opening.installation()
    key = _decoded(public_key) if public_key else _made(new_key or Path())
    person = Person(name, title, frozenset(map(Role, roles)), key)
    try:
        with installation.store.write() as connection:
            installation.auditor.record(
                connection, "person-add", name, {"roles": sorted(roles), "public_key": base64.b64encode(key).decode()}
            )
            add_person(installation.settings.people_file, person)
    except BaseException:
        if new_key:
            new_key.unlink()
        raise
    document = person_json(person) | {"private_key_file": str(new_key) if new_key else None}
    output.answer(document, lambda: _show(person, new_key))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise click.BadParameter(say("không phải base64", "is not base64"), param_hint="--public-key") from None


def _made(path: Path) -> bytes:
    from broadcaster.files.people import generate_key, public_key_of, write_key

    key = generate_key()
    write_key(path, key)
    return public_key_of(key)


def person_json(person: Person) -> dict[str, object]:
    """Return a person as plain JSON values."""
    return {
        "name": person.name,
        "title": person.title,
        "roles": sorted(person.roles),
        "public_key": base64.b64encode(person.public_key).decode(),
    }


def _show(person: Person, new_key: Path | None) -> None:
    output.line(say(f"Đã thêm {person.name} ({person.title}).", f"{person.name} ({person.title}) added."))
    if new_key:
        output.tell(
            say(
                f"Khóa riêng nằm ở {new_key}. Hãy giao cho đúng người đó giữ và không để lại bản sao trên máy này.",
                f"The private key is in {new_key}. Hand it to that person alone and leave no copy on this machine.",
            )
        )


@commands.command(
    "list", help=say("Liệt kê những người có quyền, vai trò và khóa công khai.", "List the people, their roles and public keys.")
)
def list_people() -> None:
    from broadcaster.files.people import read_people

    path = opening.settings().people_file
    people = list(read_people(path).values()) if path.exists() else []
    columns = [
        Column(say("Tên", "Name")),
        Column(say("Chức danh", "Title")),
        Column(say("Vai trò", "Roles")),
        Column(say("Khóa công khai", "Public key")),
    ]
    rows = [[item.name, item.title, ", ".join(sorted(item.roles)), base64.b64encode(item.public_key).decode()] for item in people]
    output.answer(
        [person_json(item) for item in people], lambda: output.table(columns, rows, empty=Said("Chưa có ai.", "There is nobody yet."))
    )

"""One installation opened: settings, database, keys, and the files the department owns, each read when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.exc import NoResultFound

from broadcaster.errors import ConfigurationError, StoreError
from broadcaster.files.areas import read_areas
from broadcaster.files.carriers import read_cards
from broadcaster.files.people import read_people
from broadcaster.files.replies import ReplyCard, read_reply_card
from broadcaster.files.settings import DATABASE_FILE, Settings
from broadcaster.files.templates import Template, read_templates
from broadcaster.lang import Said
from broadcaster.model import Area, CarrierCard, CarrierCode, Environment, Person
from broadcaster.store.areas import put_areas
from broadcaster.store.audit import Auditor, fingerprint
from broadcaster.store.campaigns import installed
from broadcaster.store.engine import Store, open_store
from broadcaster.store.journal import Journal
from broadcaster.store.schema import installation
from broadcaster.store.times import now_ms
from broadcaster.store.vault import Vault, read_key_file, write_key_file

AUDIT_KEY_FILE = "audit.key"
CONFIG_FILE = "broadcaster.toml"


@dataclass
class Installation:
    """What a command or the service works with; `auditor` writes the audit chain in the name of `actor`."""

    settings: Settings
    store: Store
    vault: Vault
    audit_key: bytes
    auditor: Auditor
    _people: tuple[tuple[int, int], dict[str, Person]] | None = field(default=None, repr=False)

    def cards(self) -> dict[CarrierCode, CarrierCard]:
        """Return the carrier cards of this installation's environment."""
        return read_cards(self.settings.carriers_folder, os.environ, self.settings.environment)

    def people(self) -> Mapping[str, Person]:
        """Return those who may sign, read anew whenever the file has changed.

        Raises `ConfigurationError` when it is missing, which says nothing about who may sign, or `InvalidFileError`.
        """
        path = self.settings.people_file
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigurationError(
                Said(f"Không đọc được danh sách người ký {path}.", f"The register of people {path} cannot be read.")
            ) from error
        stamp = (status.st_mtime_ns, status.st_size)
        if self._people is None or self._people[0] != stamp:
            self._people = (stamp, read_people(path))
        return self._people[1]

    def reply_card(self) -> ReplyCard | None:
        """Return the reply number's card, None while no number is hired."""
        return read_reply_card(self.settings.reply_card, os.environ, self.settings.environment)

    @property
    def journal(self) -> Journal:
        """Return the second durable place of refusals."""
        return Journal(self.settings.refusals_journal)

    def templates(self) -> list[Template]:
        return read_templates(self.settings.templates_folder)

    def areas(self) -> list[Area]:
        return list(read_areas())


def open_installation(settings: Settings, *, actor: str, service: bool = False) -> Installation:
    """Open the database and keys of an installation.

    Raises `ConfigurationError` for key files that are missing, unsafe or another installation's, or a database made for the other
    environment; `StoreError` for a database that is missing or of another version.
    """
    vault = Vault(read_key_file(settings.vault_key_file))
    audit_key_file = settings.vault_key_file.with_name(AUDIT_KEY_FILE)
    audit_key = read_key_file(audit_key_file)
    store = open_store(settings.database_url, service=service)
    try:
        with store.read() as connection:
            row = installed(connection)
    except NoResultFound as error:
        raise StoreError(
            Said("Cơ sở dữ liệu này không thuộc hệ thống nào.", "This database belongs to no installation."),
            Said("Tạo hệ thống mới bằng: broadcaster init", "Make a new installation with: broadcaster init"),
        ) from error
    for path, kept, given in (
        (settings.vault_key_file, row["vault_fingerprint"], vault.fingerprint),
        (audit_key_file, row["audit_fingerprint"], fingerprint(audit_key)),
    ):
        if given != kept:
            raise ConfigurationError(
                Said(
                    f"{path}: khóa này không phải của cơ sở dữ liệu này.",
                    f"{path}: this key does not belong to this database.",
                )
            )
    if row["environment"] != settings.environment:
        raise ConfigurationError(
            Said(
                f"Cấu hình là {settings.environment}, cơ sở dữ liệu là {row['environment']}.",
                f"The configuration says {settings.environment}, the database {row['environment']}.",
            ),
            Said("Diễn tập và thật phải là hai nơi cài đặt riêng.", "Rehearsal and live must be two separate installations."),
        )
    return Installation(settings, store, vault, audit_key, Auditor(audit_key, actor))


def initialise(folder: Path, environment: Environment, *, actor: str, resources: Path | None = None) -> list[Path]:
    """Make an empty installation in `folder`: configuration, keys, register of people, database, folders; return what was made.

    `resources` is where the templates and carrier cards to begin with are copied from. Raises `ConfigurationError` when the folder
    is not empty.
    """
    from broadcaster.store.upgrade import upgrade

    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(
            Said(f"{folder} đã có tệp; chỉ cài vào thư mục trống.", f"{folder} is not empty; an installation needs an empty folder.")
        )
    os.umask(0o077)
    for name in ("", "state", "carriers", "templates", "templates/system", "campaigns", "keys", "reports"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    made = [folder / CONFIG_FILE, folder / "vault.key", folder / AUDIT_KEY_FILE, folder / "people.toml"]
    made[0].write_text(_configuration(environment), encoding="utf-8")
    write_key_file(made[1])
    write_key_file(made[2])
    made[3].touch(mode=0o600)
    if resources is not None:
        cards = "carriers/rehearsal" if environment is Environment.REHEARSAL else "carriers"
        for source, target in (("templates", "templates"), ("templates/system", "templates/system"), (cards, "carriers")):
            made += _copy(resources / source, folder / target)
    database = folder / "state" / DATABASE_FILE
    store = Store(f"sqlite:///{database}")
    upgrade(store)
    audit_key = read_key_file(made[2])
    with store.write() as connection:
        connection.execute(
            insert(installation).values(
                id=1,
                environment=environment.value,
                created_ms=now_ms(),
                vault_fingerprint=Vault(read_key_file(made[1])).fingerprint,
                audit_fingerprint=fingerprint(audit_key),
                epoch=0,
            )
        )
        put_areas(connection, read_areas())
        Auditor(audit_key, actor).record(connection, "init", folder.name, {"environment": environment.value})
    store.close()
    return [*made, database]


def _copy(source: Path, target: Path) -> list[Path]:
    if not source.is_dir():
        raise StoreError(Said(f"Không có thư mục {source}.", f"There is no folder {source}."))
    copied = []
    for path in sorted(source.glob("*.toml")):
        copy = target / path.name
        copy.write_bytes(path.read_bytes())
        copied.append(copy)
    return copied


def _configuration(environment: Environment) -> str:
    return (
        "# Nơi cài đặt của broadcaster. Mọi khóa được giải thích trong config.example.toml.\n"
        f'environment = "{environment.value}"\n'
        'state_folder = "state"\n'
        'carriers_folder = "carriers"\n'
        'templates_folder = "templates"\n'
        'people_file = "people.toml"\n'
        'vault_key_file = "vault.key"\n'
    )

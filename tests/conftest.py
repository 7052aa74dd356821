"""What most tests need: a migrated database, keys, people who sign, carrier cards, communes, an order."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from sqlalchemy import insert

from broadcaster.files.areas import read_areas
from broadcaster.files.carriers import read_cards
from broadcaster.lang import speak
from broadcaster.model import (
    Area,
    AreaCode,
    Audience,
    CarrierCard,
    CarrierCode,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    Person,
    Role,
    UnknownPolicy,
    Variant,
)
from broadcaster.store.audit import Auditor, fingerprint
from broadcaster.store.engine import Store, open_store
from broadcaster.store.schema import installation
from broadcaster.store.upgrade import upgrade
from broadcaster.store.vault import Vault
from tests.postgresql import PostgreSQL, remove, reserve, server

REPOSITORY = Path(__file__).parents[1]
NOW = dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC)
"""A Thursday, ten in the morning in Quảng Ngãi."""

OFFICES = {
    "van-thu": Role.OPERATOR,
    "chuyen-vien": Role.AUTHOR,
    "truong-phong": Role.APPROVER,
    "pho-giam-doc": Role.APPROVER,
    "truc-ban": Role.DUTY_OFFICER,
    "thanh-tra": Role.AUDITOR,
}

ON_BOTH = ("store", "flow")
"""Folders whose tests run on SQLite and on PostgreSQL."""

LONG = ("integration", "sim")
"""Folders whose tests take seconds each."""

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""What a run may need of it."""

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _vietnamese() -> None:
    """Begin every test in the language the program begins in, whatever the last one spoke."""
    speak("vi")


@pytest.fixture(scope="session")
def now() -> dt.datetime:
    return NOW


@pytest.fixture(scope="session")
def postgresql() -> PostgreSQL:
    return server()


@pytest.fixture
def engine_name() -> str:
    """The database the test runs on; tests of the store and of the flow run on both (see pytest_generate_tests)."""
    return "sqlite"


def pytest_configure(config: pytest.Config) -> None:
    """Choose where this run's files and its PostgreSQL server live: in memory if there is room, as most tests wait for the disk."""
    if hasattr(config, "workerinput"):
        return
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM and not no_programs(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
    reserve()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        remove()


def no_programs(folder: Path) -> bool:
    """Tell whether what lies in this folder may not be run; the power cuts need a library there."""
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Let `-n auto` be two processes a core: the tests with real processes wait for most of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take long, so that none of them is left when the others are done."""
    items.sort(key=lambda item: folder_of(item.path) not in LONG)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the folders in `ON_BOTH` on SQLite and on PostgreSQL."""
    alone = metafunc.definition.get_closest_marker("sqlite_only")
    assert alone is None or alone.kwargs.get("reason"), "say why it is about SQLite alone"
    if folder_of(metafunc.definition.path) in ON_BOTH and "make_store" in metafunc.fixturenames and not alone:
        metafunc.parametrize("engine_name", ["sqlite", "postgresql"])


def folder_of(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of the newest version, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    store = Store(f"sqlite:///{path}")
    upgrade(store)
    store.close()
    return path


@pytest.fixture
def make_store(migrated: Path, tmp_path: Path, engine_name: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Store]]:
    """Make a database under a name of its own, empty or `like` one that was kept; with the same name again, open it once more."""
    opened: list[Store] = []
    databases: dict[str, str] = {}
    done_with: list[Callable[[], None]] = []

    def make(name: str = "broadcaster", *, service: bool = False, like: str | None = None) -> Store:
        if engine_name == "postgresql":
            server: PostgreSQL = request.getfixturevalue("postgresql")
            if name not in databases:
                databases[name] = server.copy(like) if like else server.take()
                done_with.append(partial(server.drop if like else server.give_back, databases[name]))
            opened.append(open_store(server.url(databases[name]), service=service))
            return opened[-1]
        path = tmp_path / f"{name}.db"
        if not path.exists():
            shutil.copyfile(like or migrated, path)
            path.chmod(0o600)
        opened.append(open_store(f"sqlite:///{path}", service=service))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
    for end in done_with:
        end()


@pytest.fixture
def keep(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[Store], str]:
    """Copy a database for the rest of the run; the copy's name is what `make_store` takes as `like`."""

    def copy(store: Store) -> str:
        if not store.sqlite:
            server: PostgreSQL = request.getfixturevalue("postgresql")
            # A database somebody is connected to cannot be copied.
            store.close()
            return server.copy(str(store.url.database))
        path = tmp_path_factory.mktemp("kept") / "kept.db"
        with store.read() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
            connection.exec_driver_sql("BEGIN")
        return str(path)

    return copy


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """An empty database of the newest version."""
    return make_store()


@pytest.fixture
def installed_store(store: Store, vault: Vault, audit_key: bytes) -> Store:
    """The database of a rehearsal installation."""
    names = {"vault_fingerprint": vault.fingerprint, "audit_fingerprint": fingerprint(audit_key)}
    values = {"id": 1, "environment": "rehearsal", "created_ms": 0, "epoch": 1} | names
    with store.write() as connection:
        connection.execute(insert(installation).values(values))
    return store


@pytest.fixture(scope="session")
def vault() -> Vault:
    return Vault(bytes(range(32)))


@pytest.fixture(scope="session")
def audit_key() -> bytes:
    return b"k" * 32


@pytest.fixture(scope="session")
def auditor(audit_key: bytes) -> Auditor:
    return Auditor(audit_key, "test")


@pytest.fixture(scope="session")
def areas() -> list[Area]:
    """The province's communes."""
    return list(read_areas())


@pytest.fixture(scope="session")
def keys() -> dict[str, Ed25519PrivateKey]:
    """Signing keys by office."""
    return {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate(OFFICES, 1)}


@pytest.fixture(scope="session")
def people(keys: dict[str, Ed25519PrivateKey]) -> dict[str, Person]:
    """One office for each role, two for approving."""
    return {name: Person(name, name, frozenset({role}), keys[name].public_key().public_bytes_raw()) for name, role in OFFICES.items()}


@pytest.fixture(scope="session")
def cards() -> dict[CarrierCode, CarrierCard]:
    """The five rehearsal cards that ship with the program."""
    return read_cards(REPOSITORY / "carriers" / "rehearsal", os.environ, Environment.REHEARSAL)


@pytest.fixture
def order() -> Order:
    """A rehearsal for three communes and two carriers, in no hurry."""
    return Order(
        name="dien-tap-ven-bien",
        title="Diễn tập ven biển",
        environment=Environment.REHEARSAL,
        message_class=MessageClass.ADVISORY,
        instruction="12/CT-UBND",
        template="t08-gia-danh",
        variant=Variant.UNACCENTED,
        values={},
        sender="SKHCN-QNG",
        audience=Audience(
            communes=(AreaCode("21025"), AreaCode("21040"), AreaCode("21548")),
            carriers=(CarrierCode("mobifone"), CarrierCode("viettel")),
            active_within_h=72,
            roster_max_age_h=48,
            max_recipients=900,
        ),
        window=DailyWindow(dt.time(8), dt.time(20)),
        start=None,
        start_within_h=12,
        deadline_h=24,
        validity_h=12,
        override_refusals=False,
        unknown_policy=UnknownPolicy.AT_MOST_ONCE,
    )


@pytest.fixture
def order_for() -> Callable[..., Order]:
    """Change an order's fields, those of its audience included."""

    def change(order: Order, **fields: Any) -> Order:
        inner = {name: fields.pop(name) for name in list(fields) if name in Audience.__dataclass_fields__}
        return replace(order, audience=replace(order.audience, **inner), **fields)

    return change

"""The power fails: the database keeps what was made safe, and of the rest whatever chance leaves, torn in the middle or not at all.

A preloaded library (powerlog.c) writes down what the service does to the database's files; after a kill the files are laid out anew
from what was safe then, with a random choice of the writes that were not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.test_kills import CROSS, QUIET, WHOLE, WINDOW, finish

CUTS = 20 if WHOLE else 3
SECTOR = 512
KEPT = (".db", "-wal", "-journal")
"""The endings of the database's own files; its shared memory is made anew, and the note beside it is replaced as a whole."""
HEAD = struct.Struct("=4Q")
OPENED, WRITTEN, CUT, SAFE, GONE = range(5)

pytestmark = pytest.mark.slow


class Entry(NamedTuple):
    kind: int
    file: int
    offset: int
    data: bytes


def entries(log: Path) -> Iterator[Entry]:
    """Read what the library wrote; a last record that was cut off was never done, as it is written down first."""
    octets = log.read_bytes()
    at = 0
    while at + HEAD.size <= len(octets):
        kind, file, offset, length = HEAD.unpack_from(octets, at)
        at += HEAD.size
        data = octets[at : at + length] if kind in (OPENED, WRITTEN, GONE) else b""
        at += len(data)
        yield Entry(kind, file, offset, data)


def apply(content: bytearray, entry: Entry) -> None:
    if entry.kind == CUT:
        del content[entry.offset :]
        return
    content.extend(bytes(max(0, entry.offset - len(content))))
    content[entry.offset : entry.offset + len(entry.data)] = entry.data


def survivors(pending: list[Entry], chance: random.Random) -> Iterator[Entry]:
    """Choose, of the writes that were not safe, those that reached the disk; one in three of them only up to some sector."""
    for entry in pending:
        if chance.random() < 0.5:
            torn = chance.random() < 1 / 3 and len(entry.data) > SECTOR
            kept = SECTOR * chance.randrange(1, len(entry.data) // SECTOR + 1) if torn else len(entry.data)
            yield entry._replace(data=entry.data[:kept])


def after_the_cut(before: dict[str, bytes], log: Path, chance: random.Random) -> tuple[dict[str, bytes], int]:
    """Return the files as the disk may hold them, and how many writes were not safe."""
    paths: dict[int, str] = {}
    safe = {path: bytearray(content) for path, content in before.items()}
    pending: dict[str, list[Entry]] = {}
    for entry in entries(log):
        if entry.kind == OPENED:
            paths[entry.file] = entry.data.decode()
            safe.setdefault(paths[entry.file], bytearray())
        elif entry.kind == GONE:
            safe.pop(entry.data.decode(), None)
            pending.pop(entry.data.decode(), None)
        elif entry.kind == SAFE:
            path = paths[entry.file]
            for done in pending.pop(path, []):
                apply(safe.setdefault(path, bytearray()), done)
        else:
            pending.setdefault(paths[entry.file], []).append(entry)
    lost = {path: items for path, items in pending.items() if path.endswith(KEPT)}
    for path, items in lost.items():
        for entry in survivors(items, chance):
            apply(safe.setdefault(path, bytearray()), entry)
    return {path: bytes(content) for path, content in safe.items() if path.endswith(KEPT)}, sum(map(len, lost.values()))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library that watches the files."""
    compiler = shutil.which("cc")
    if compiler is None:
        assert "CI" not in os.environ, "there is no C compiler"
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("power") / "powerlog.so"
    source = Path(__file__).with_name("powerlog.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", made, source, "-ldl", "-lpthread"], check=True)
    return made


def files_of(database: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in database.parent.glob(database.name + "*") if path.name.endswith(KEPT)}


@pytest.mark.timeout(900)
def test_the_power_fails_again_and_again(make_rig, library, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    rig = make_rig({"viettel": QUIET, "mobifone": CROSS}, 180 * CUTS + 60, tps=400, window=WINDOW)
    database = rig.open().store.path
    unsafe = 0
    for number in range(CUTS):
        log = tmp_path / f"power-{number}.log"
        kept = files_of(database)
        writes = str(chance.randrange(20, 1_500))
        service = rig.serve(LD_PRELOAD=str(library), POWER_FILES=str(database), POWER_LOG=str(log), POWER_FAILS_AFTER=writes)
        rig.wait_for(lambda service=service: service.poll() is not None)
        assert service.returncode == -signal.SIGKILL
        disk, lost = after_the_cut(kept, log, chance)
        unsafe += lost
        for path in files_of(database).keys() - disk.keys():
            Path(path).unlink()
        # In its place, not as a new file: the service takes a database that was put back for an older one.
        for path, content in disk.items():
            Path(path).touch(mode=0o600)
            Path(path).write_bytes(content)
        with rig.open().store.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    assert unsafe > 0
    finish(rig, CUTS)

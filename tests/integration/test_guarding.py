"""The service as a real process, in a world that fails it: a database put back from a backup, a disk that is full."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from broadcaster.flow import admit
from broadcaster.model import State
from broadcaster.service.installation import CONFIG_FILE
from broadcaster.store.sidecar import read_mark

pytestmark = pytest.mark.slow

PROMPT = "seed = 1\n[receipt]\ndelay_ms = [0, 5]\n"


def watched(rig, port: int) -> Path:
    """Let the service answer scrapes at the port, and write its alarms into a file."""
    told = rig.home / "alarms.jsonl"
    code = f"import sys; open({str(told)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    lines = ["[metrics]", f"port = {port}", "[alarms]", f"command = {json.dumps([sys.executable, '-c', code])}"]
    with (rig.folder / CONFIG_FILE).open("a") as file:
        file.write("\n".join(lines) + "\n")
    return told


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def alarms(told: Path) -> list[str]:
    return [json.loads(line)["alarm"] for line in told.read_text("utf-8").splitlines()] if told.exists() else []


def submits_of_each(rig) -> Counter[str]:
    return Counter(row.dst for row in rig.submits() if row.status == 0)


def test_a_restored_database_does_not_send_until_it_is_adopted_and_then_sends_to_nobody_twice(make_rig, port):
    rig = make_rig({"viettel": PROMPT}, 300, tps=100)
    told = watched(rig, port)
    database = rig.open().store.path
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() >= 30, service)
    assert rig.stop(service) == 0
    backup = rig.home / "backup.db"
    shutil.copyfile(database, backup)
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() >= 150, service)
    assert scraped(port)['broadcaster_link_bound{bind="1",carrier="viettel"}'] == 1.0
    service.kill()
    service.wait()
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(backup, database)

    refused = rig.serve()
    assert refused.wait(60) == 10
    sent = submits_of_each(rig)
    assert alarms(told) == ["database-restored"]
    assert "db adopt" in rig.service_log.read_text()

    planned = json.loads(rig.command("db", "adopt", "--dry-run", "--reason", "thử", "--json").stdout)
    assert planned["doubt"] == "older"
    adopted = rig.command("db", "adopt", "--reason", "đĩa hỏng", "--json")
    assert adopted.returncode == 0, adopted.stderr
    assert json.loads(adopted.stdout) | {"dry_run": True} == planned
    assert rig.state() == "paused"
    assert rig.count(State.UNCERTAIN) == planned["uncertain"] > 0
    rig.control(admit.resume)
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    assert rig.stop(service) == 0
    after = submits_of_each(rig)
    assert max(after.values()) == 1
    assert all(number in after for number in sent)
    assert len(after) + rig.count(State.UNCERTAIN) >= 300
    assert read_mark(database).lanes == {}


def limit_files(pid: int, size: int) -> None:
    """Let the process write no file beyond so many octets: what a full disk looks like to it."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))


def test_a_full_disk_stops_the_sending_and_it_goes_on_by_itself(make_rig, port):
    rig = make_rig({"viettel": PROMPT}, 400, tps=100, window=10)
    watched(rig, port)
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() >= 50, service)
    limit_files(service.pid, 1024)
    rig.wait_for(lambda: scraped(port)["broadcaster_store_failures_total"] >= 3, service)
    stood = rig.taken()
    assert stood < 400
    rig.wait_for(lambda: scraped(port)["broadcaster_store_failures_total"] >= 5, service)
    assert rig.taken() == stood
    assert scraped(port)["broadcaster_alarms_total"] == 1
    limit_files(service.pid, resource.RLIM_INFINITY)
    rig.wait_for(lambda: rig.state() == "finished", service)
    rig.wait_for(lambda: rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    assert [check for check in rig.verify() if not check.ok] == []
    assert rig.count(State.UNCERTAIN) == 0
    assert set(submits_of_each(rig).values()) == {1}

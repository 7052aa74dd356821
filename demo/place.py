"""Where the demo plays: a state folder of its own, rehearsal cards beside real ones, and an order that is a rehearsal's."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from broadcaster.lang import Said
from demo.generate import ACTIVE_WITHIN_H, NETWORKS

MARKER: Final = ".broadcaster-demo"
SOURCES: Final = Path(__file__).resolve().parent.parent
"""The checkout, whose templates, cards and orders the demo takes."""

ORDER: Final = "dien-tap-toan-tinh"
LOOPBACK: Final = "127.0.0.1"

_ID_RULES: Final = {"decimal": "dec", "padded": "dec", "hex": "hex", "uuid": "raw"}
_RETRY_AFTER_S: Final = (2, 4, 8)
_SENDING_S: Final = 40
"""How long the default rates let the sending take, where the cards allow so much."""
_LEAST_TPS: Final = 50
_THROTTLE_EVERY_S: Final = 6
_THROTTLE_PERCENT: Final = 70
"""At how much of the rehearsal's rate a carrier that throttles does so, since that rate is far below its own."""


class ForeignFolderError(Exception):
    """The state folder is not the demo's to delete."""

    def __init__(self, why: Said) -> None:
        super().__init__(why)
        self.why = why


class Rate(NamedTuple):
    """Parts per second: the rehearsal's (None: unlimited) and the carrier's own card's."""

    demo_tps: int | None
    card_tps: int


def claim_folder(folder: Path) -> int:
    """Make `folder` empty but for the demo's marker, and return the lock held on it as a file descriptor.

    Raises `ForeignFolderError` when the folder is there and was not made by a demo, or another demo runs in it.
    """
    marker = folder / MARKER
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ForeignFolderError(Said(f"{folder} không phải là thư mục", f"{folder} is no folder"))
    if folder.exists() and any(folder.iterdir()) and not (marker.is_file() and not marker.is_symlink()):
        raise ForeignFolderError(
            Said(
                f"{folder} có tệp mà không phải do bản trình diễn tạo ra, nên không xóa; hãy chọn thư mục khác bằng --state",
                f"{folder} holds files and was not made by a demo, so it is not deleted; choose another folder with --state",
            )
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ForeignFolderError(
            Said(f"một bản trình diễn khác đang chạy trong {folder}", f"another demo is running in {folder}")
        ) from None
    for path in folder.iterdir():
        if path == marker:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return lock


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def listens(port: int) -> bool:
    """Tell whether somebody listens on a loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def rates(recipients: Mapping[str, int], asked: str | None) -> dict[str, Rate]:
    """Return each carrier's rates; without an asked one, about 40 s of sending but never more than its own card allows."""
    found = {}
    for network in NETWORKS:
        card_tps = int(tomllib.loads(_card_text(network.code))["tps"])
        if asked == "unlimited":
            demo_tps = None
        elif asked:
            demo_tps = int(asked)
        else:
            demo_tps = min(card_tps, max(_LEAST_TPS, -(-recipients[network.code] // _SENDING_S)))
        found[str(network.code)] = Rate(demo_tps, card_tps)
    return found


def write_cards(folder: Path, ports: Mapping[str, int], rate_of: Mapping[str, Rate]) -> None:
    """Write the rehearsal's carrier cards, passwords and temperaments.

    The cards are the real ones but for where they lead, how fast they go, how ids are spelt and how long a retry waits.
    """
    passwords, simulated = folder / "secrets", folder / "simulated"
    passwords.mkdir(mode=0o700)
    simulated.mkdir(mode=0o700)
    for code, port in ports.items():
        script = (SOURCES / "carriers" / "simulated" / f"{code}.toml").read_text("utf-8")
        temperament = tomllib.loads(script)
        tps = rate_of[code].demo_tps
        if tps is not None and "throttle" in temperament:
            script = with_values(script, {"tps": max(1, tps * _THROTTLE_PERCENT // 100), "every_s": _THROTTLE_EVERY_S})
        (simulated / f"{code}.toml").write_text(script, "utf-8")
        values = {
            "environment": "rehearsal",
            "host": LOOPBACK,
            "port": port,
            "tls": False,
            "password_file": f"secrets/{code}",
            "tps": "unlimited" if tps is None else tps,
            "response_id": _ID_RULES[temperament["response"]["id"]],
            "receipt_id": _ID_RULES[temperament["receipt"]["id"]],
            "receipt_means": "handset",
            "retry_after_s": _RETRY_AFTER_S,
            "queue_full_after_s": _RETRY_AFTER_S,
        }
        (folder / f"{code}.toml").write_text(with_values(_card_text(code), values), "utf-8")
        _write_private(passwords / code, secrets.token_hex(4))


def write_order(path: Path, subscribers: int) -> None:
    """Write the rehearsal's order: the province-wide one, but a rehearsal, at any hour, for at most so many people."""
    text = (SOURCES / "campaigns" / "toan-tinh.toml").read_text("utf-8")
    values = {
        "title": "Diễn tập: cảnh báo giả danh cơ quan Công an, Viện kiểm sát, Tòa án, toàn tỉnh",
        "environment": "rehearsal",
        "window": "all-day",
        "active_within_h": ACTIVE_WITHIN_H,
        "max_recipients": subscribers,
    }
    path.write_text(with_values(text, values), "utf-8")


def with_values(text: str, values: Mapping[str, object]) -> str:
    """Return a TOML text with other values behind keys it has, each on a line of its own. Raises `KeyError` for one it lacks."""
    for key, value in values.items():
        # JSON's strings, numbers, truths and arrays of numbers are TOML's too.
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        text, count = re.subn(rf"(?m)^{key}\s*=.*$", lambda _, line=line: line, text)  # type: ignore[misc]
        if count != 1:
            raise KeyError(key)
    return text


def _card_text(code: str) -> str:
    return (SOURCES / "carriers" / f"{code}.toml").read_text("utf-8")


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")

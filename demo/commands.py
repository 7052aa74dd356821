"""Run the product's own commands: one after the other in front, carriers and service behind; and leave no process behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from broadcaster.lang import Lang, Said
from demo.screen import Screen

_TAIL_LINES: Final = 20
_PATIENCE_S: Final = 30


class StepFailedError(Exception):
    """A command of the demo failed: which, how, and the end of what it said."""

    def __init__(self, command: str, why: Said, tail: str) -> None:
        super().__init__(command)
        self.command = command
        self.why = why
        self.tail = tail


class Commands:
    """The installation's commands, run in `folder`; use as a context manager, which stops whatever still runs."""

    def __init__(self, screen: Screen, folder: Path, logs: Path, lang: Lang) -> None:
        self._screen = screen
        self._folder = folder
        self._logs = logs
        self._environment = _environment(os.environ, lang)
        self._front: subprocess.Popen[str] | None = None
        self._behind: dict[str, subprocess.Popen[bytes]] = {}
        self._fallen: tuple[str, int] | None = None
        """The first process behind that ended by itself, and its code."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not cut the cleaning up short.
        former = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        if self._front:
            _end(self._front)
        for name in reversed(list(self._behind)):
            self.stop(name)
        for number, handler in former.items():
            signal.signal(number, handler)

    def run(self, *arguments: str, captured: bool = False, inside: bool = True, shown: bool = True) -> str:
        """Run one command to its end and return what it printed if `captured`; `inside` the installation's folder.

        One that only looks whether it is time to go on is not `shown`.

        Raises `StepFailedError` when it fails, or when a carrier or the service ends meanwhile.
        """
        if shown:
            self._screen.command(arguments)
        self._front = process = subprocess.Popen(
            [sys.executable, "-m", "broadcaster", *arguments],
            cwd=self._folder if inside else None,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            # A person at a terminal sees progress bars, and errors as they come; elsewhere we pass on what is said and keep its end.
            stderr=None if sys.stderr.isatty() else subprocess.PIPE,
            encoding="utf-8",
        )
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        teller = threading.Thread(target=_pass_on, args=(process, tail))
        teller.start()
        printed = ""
        if process.stdout:
            with process.stdout:
                printed = process.stdout.read()
        code = process.wait()
        teller.join()
        self._front = None
        if self._fallen:
            raise self._fallen_error(*self._fallen)
        if code:
            raise StepFailedError(_shown(arguments), Said(f"kết thúc với mã {code}", f"ended with code {code}"), "".join(tail))
        return printed

    def start(self, name: str, *arguments: str) -> None:
        """Start a command that stays behind; what it says goes into its log."""
        self._screen.command(arguments, behind=True)
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "broadcaster", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._behind[name] = process
        threading.Thread(target=self._watch, args=(name, process), daemon=True).start()

    def wait_until(self, name: str, ready: Callable[[], bool], pause: Callable[[], None]) -> None:
        """Return once `ready`, pausing in between. Raises `StepFailedError` when the process behind ends before."""
        while not ready():
            code = self._behind[name].poll()
            if code is not None:
                raise self._fallen_error(name, code)
            pause()

    def stop(self, name: str) -> None:
        """Ask a process behind to end, and see that it does."""
        process = self._behind.pop(name)
        _end(process)

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if name in self._behind and self._fallen is None:
            self._fallen = (name, code)
            front = self._front
            if front:
                front.terminate()

    def _fallen_error(self, name: str, code: int) -> StepFailedError:
        lines = self._log(name).read_text("utf-8", "replace").splitlines(keepends=True)
        why = Said(f"tiến trình nền này tự dừng với mã {code}", f"this process behind ended by itself with code {code}")
        return StepFailedError(name, why, "".join(lines[-_TAIL_LINES:]))

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _environment(ours: Mapping[str, str], lang: Lang) -> dict[str, str]:
    """Return the environment of every command: none of our caller's settings, which might point to a live installation."""
    kept = {name: value for name, value in ours.items() if not name.startswith("BROADCASTER_")}
    return kept | {"BROADCASTER_LANG": lang, "PYTHONUTF8": "1"}


def _shown(arguments: tuple[str, ...]) -> str:
    return shlex.join(["broadcaster", *arguments])


def _pass_on(process: subprocess.Popen[str], tail: deque[str]) -> None:
    if process.stderr is None:
        return
    with process.stderr:
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            tail.append(line)


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

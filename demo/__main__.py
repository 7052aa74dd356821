"""A whole warning campaign against five simulated carriers, with the commands that an operator would type: ``python -m demo``.

Everything happens in one state folder (--state, by default ``demo-state``), which holds an installation of its own, and on the
loopback interface. The demo makes up a province (demo/generate.py), runs the product's commands one after the other, says before each
step what happens and why, and ends with the records of the product compared with those of the carriers, message by message.

The folder is emptied at the next start; the demo refuses one that it did not make. Exit codes: 0 everything agrees, 1 a command
failed or something differs, 2 usage, 130 interrupted. However it ends, no process stays behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from broadcaster.lang import Said, say, speak
from demo.commands import Commands, StepFailedError
from demo.place import ForeignFolderError, claim_folder
from demo.screen import Screen
from demo.story import STEPS, Demo, Options, farewell

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _options(arguments)
    speak(options.lang)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o077)
    try:
        lock = claim_folder(options.state)
    except ForeignFolderError as error:
        print(error.why, file=sys.stderr)
        return 1
    try:
        return _play(options)
    except KeyboardInterrupt:
        print("\n" + say("Đã dừng theo yêu cầu; không còn tiến trình nào chạy.", "Stopped as asked; no process is left running."))
        return _INTERRUPTED
    finally:
        os.close(lock)


def _play(options: Options) -> int:
    screen = Screen(len(STEPS))
    try:
        with Commands(screen, options.installation, options.logs, options.lang) as commands:
            demo = Demo(options, screen, commands)
            for sentence, act in STEPS:
                screen.step(sentence)
                act(demo)
    except StepFailedError as error:
        failed = Said(f"KHÔNG THÀNH: {error.command}: {error.why.vi}", f"FAILED: {error.command}: {error.why.en}")
        print(f"\n{failed}\n{error.tail}", file=sys.stderr)
        return 1
    farewell(demo)
    return 0


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--state", type=Path, default=Path("demo-state"), metavar="FOLDER", help="default: demo-state")
    parser.add_argument("--subscribers", type=_count, default=20_000, metavar="N", help="default: 20000")
    parser.add_argument(
        "--rate", type=_rate, metavar="N|unlimited", help="parts per second of each carrier; default: 40 s of sending"
    )
    parser.add_argument("--lang", choices=("vi", "en"), default="vi")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: 1")
    given = parser.parse_args(arguments)
    return Options(given.state, given.subscribers, given.rate, given.lang, given.seed)


def _count(text: str) -> int:
    number = int(text)
    if not 100 <= number <= 10_000_000:
        raise argparse.ArgumentTypeError("100 ... 10000000")
    return number


def _rate(text: str) -> str:
    if text != "unlimited" and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError("1 ... 10000, or unlimited")
    return text


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

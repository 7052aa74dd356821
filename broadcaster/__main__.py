"""The program's entrance: settle the language, then hand over to the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from broadcaster.lang import Lang, speak


def language(arguments: Sequence[str], environment: Mapping[str, str]) -> Lang:
    """Return the language that ``--lang`` or BROADCASTER_LANG asks for; it must be known before any help text is made."""
    wanted = environment.get("BROADCASTER_LANG", "vi")
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--lang":
            wanted = next(iter(arguments[position + 1 :]), wanted)
        elif argument.startswith("--lang="):
            wanted = argument.removeprefix("--lang=")
    return "en" if wanted == "en" else "vi"


def main() -> None:
    """Run the command line on this process's arguments and exit with its code."""
    speak(language(sys.argv[1:], os.environ))
    from broadcaster.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

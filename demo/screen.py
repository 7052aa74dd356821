"""How the demo looks: numbered steps, a sentence each, the commands dimmed; plain text where there is no terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence

_WIDEST = 100


class Screen:
    """Write the demo's talk to standard output."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._width = min(shutil.get_terminal_size().columns, _WIDEST)

    def step(self, sentence: object) -> None:
        """Open the next step with what happens and why."""
        self._step += 1
        mark = f"[{self._step}/{self._steps}] "
        print()
        self._wrapped(str(sentence), mark, bold=True)

    def say(self, sentence: object) -> None:
        """Add a sentence to the step."""
        self._wrapped(str(sentence), "  ")

    def command(self, arguments: Sequence[str], program: str = "broadcaster", *, behind: bool = False) -> None:
        """Show a command as one would type it; `behind` stays in the background."""
        self._print(f"$ {shlex.join([program, *arguments])}{' &' if behind else ''}", "2")

    def line(self, text: str) -> None:
        """Write a line as it is."""
        print(f"  {text}", flush=True)

    def table(self, heads: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
        """Write a small table: first column to the left, numbers to the right."""
        cells = [[str(cell) for cell in row] for row in (heads, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
        for row in cells:
            first, *rest = (text.rjust(width) for text, width in zip(row, widths, strict=True))
            self.line("  ".join([first.strip().ljust(widths[0]), *rest]))

    def _wrapped(self, text: str, mark: str, *, bold: bool = False) -> None:
        filled = textwrap.fill(text, self._width, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)
        self._print(filled, "1" if bold else "")

    def _print(self, text: str, style: str) -> None:
        # Flushed at once: children write to the same terminal.
        print(f"\x1b[{style}m{text}\x1b[0m" if style and self._styled else text, flush=True)

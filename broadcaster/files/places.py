"""Find the line of a file that a problem found after parsing is about."""

from __future__ import annotations

from pathlib import Path


def line_of(path: Path, needle: str, *, last: bool = False) -> int | None:
    """Return the 1-based number of the first (or last) line of `path` that contains `needle` and is not a comment."""
    lines = path.read_text("utf-8-sig").splitlines()
    found = [number for number, line in enumerate(lines, 1) if needle in line and not line.lstrip().startswith("#")]
    return found[-1 if last else 0] if found else None

"""Find the line of a file that a problem found after parsing is about."""

from __future__ import annotations

from pathlib import Path


def line_of(path: Path, needle: str) -> int | None:
    """Return the 1-based number of the first line of `path` that contains `needle` outside a comment."""
    lines = path.read_text("utf-8-sig").splitlines()
    return next((number for number, line in enumerate(lines, 1) if needle in line and not line.lstrip().startswith("#")), None)

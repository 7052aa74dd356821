"""The closing table of `pipeline.py`: one row a run, each with the command that gives it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Final, NamedTuple

COLUMNS: Final = (
    "command",
    "parts",
    "parts/s",
    "µs CPU a part",
    "loop + writer",
    "peak MB",
    "MB per 100,000",
    "commit 99 %",
    "x best other",
)


class Row(NamedTuple):
    """What one run of the pipeline gave; rates are until every state is in the database."""

    command: str
    messages: int
    parts: int
    folded_s: float
    cpu_s: float
    loop_s: float
    peak_mb: float
    slope_mb: float
    commits_ms: list[float]
    peer_per_second: float | None

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the service for each part."""
        return self.cpu_s * 1e6 / self.parts

    @property
    def cells(self) -> tuple[str, ...]:
        loop_us = self.loop_s * 1e6 / self.parts
        rate = self.parts / self.folded_s
        late = sorted(self.commits_ms)[int(len(self.commits_ms) * 0.99)] if self.commits_ms else 0.0
        return (
            self.command,
            f"{self.parts:,}",
            f"{rate:,.0f}",
            f"{self.cpu_us:.1f}",
            f"{loop_us:.1f} + {self.cpu_us - loop_us:.1f}",
            f"{self.peak_mb:.0f}",
            f"{self.slope_mb:+.2f}",
            f"{late:.1f} ms",
            f"{rate / self.peer_per_second:.1f}" if self.peer_per_second else "",
        )


def show_rows(rows: Iterable[Row]) -> None:
    """Print the table."""
    lines = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        )


def show_ratio(rows: Iterable[Row]) -> None:
    """Print the CPU time of a part in the biggest size against that in the smallest, by the medians of their runs."""
    by_size: dict[int, list[float]] = {}
    for row in rows:
        by_size.setdefault(row.messages, []).append(row.cpu_us)
    small, big = min(by_size), max(by_size)
    if small < big:
        ratio = statistics.median(by_size[big]) / statistics.median(by_size[small])
        print(f"CPU time of a part at {big:,} messages: {ratio:.2f} x that at {small:,} (of {len(by_size[small])} runs around it)")


def in_turns(sizes: list[int]) -> list[int]:
    """Return the sizes with the smallest before and after each of the others, so that a noisy minute spoils no comparison."""
    small = min(sizes)
    turns = [small]
    for size in sorted(set(sizes) - {small}):
        turns += [size, small]
    return turns

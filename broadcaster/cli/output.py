"""What the command line prints: data on stdout, talk on stderr; tables and bars only where a person looks."""

from __future__ import annotations

import datetime as dt
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import click

from broadcaster.cli.commands import invocation
from broadcaster.lang import Said, say, spoken
from broadcaster.model import TIMEZONE

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_ZONE: Final = ZoneInfo(TIMEZONE)
WHOLE_WORD: Final = 16
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Column(NamedTuple):
    """One column of a table; numbers stand at the right."""

    title: str
    right: bool = False


def answer(document: Any, show: Callable[[], None]) -> None:
    """Give a command's result: `document` as JSON when --json was asked for, else whatever `show` prints."""
    if invocation().as_json:
        click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=_plain))
    else:
        show()


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)


def line(text: str = "") -> None:
    """Print one line of data."""
    click.echo(text)


def tell(text: str) -> None:
    """Print one line of talk."""
    click.echo(text, err=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, title: str = "", empty: Said | None = None) -> None:
    """Print a table: drawn for a person, plain columns for a pipe; `empty` is said on stderr when there is no row."""
    if title:
        line(title)
    if not rows:
        tell(str(empty or Said("(không có)", "(none)")))
        return
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(drawn_table(columns, rows))
    else:
        _print_columns(columns, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return say("có", "yes") if value else say("không", "no")
    if isinstance(value, int):
        return number(value)
    if isinstance(value, dt.datetime):
        return moment(value)
    return unicodedata.normalize("NFC", str(value))


def drawn_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> RichTable:
    """Return the table as rich draws it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[_cell(value) for value in row] for row in rows]
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            overflow="fold",
            min_width=_longest_word([column.title, *(row[place] for row in cells)]),
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn


def _longest_word(texts: Sequence[str]) -> int:
    """Return the width below which a column would be cut inside a word; very long words may be cut."""
    return min(WHOLE_WORD, max(width_of(word) for text in texts for word in text.split() or [""]))


def _print_columns(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    lines = [[column.title for column in columns], *cells]
    widths = [max(width_of(row[place]) for row in lines) for place in range(len(columns))]
    for row in lines:
        line("  ".join(_padded(*pair) for pair in zip(row, widths, columns, strict=True)).rstrip())


def _padded(cell: str, width: int, column: Column) -> str:
    gap = " " * (width - width_of(cell))
    return gap + cell if column.right else cell + gap


def width_of(text: str) -> int:
    """Return how many terminal columns a text takes; a combining mark takes none, an East Asian wide letter two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in unicodedata.normalize("NFC", text)
    )


def number(value: int) -> str:
    """Return a whole number with its thousands apart, as the language writes it."""
    text = f"{value:,}"
    return text.replace(",", ".") if spoken() == "vi" else text


def decimal(value: float, digits: int = 1) -> str:
    """Return a number with `digits` decimals, as the language writes it."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if spoken() == "vi" else text


def moment(at: dt.datetime | None) -> str:
    """Return a moment in Asia/Ho_Chi_Minh: ``08:30:00 31-01-2026``."""
    return "–" if at is None else f"{at.astimezone(_ZONE):%H:%M:%S %d-%m-%Y}"


def moment_of_ms(at_ms: int | None) -> dt.datetime | None:
    """Return the aware datetime of the database's milliseconds."""
    return None if at_ms is None else _EPOCH + dt.timedelta(milliseconds=at_ms)


def duration(seconds: float) -> str:
    """Return a span as people say it: ``45 s``, ``3 ph 05 s``, ``2 g 10 ph``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return say(f"{hours} g {minutes_left:02d} ph", f"{hours} h {minutes_left:02d} min")
    return say(f"{minutes} ph {rest:02d} s", f"{minutes} min {rest:02d} s") if minutes else f"{rest} s"


def facts(rows: Mapping[str, object]) -> None:
    """Print names and values, one pair a line, values aligned."""
    width = max(map(width_of, rows), default=0)
    for name, value in rows.items():
        line(f"{name}:{' ' * (width - width_of(name))} {_cell(value)}")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar with rate and time left on stderr while the block runs, if a person looks; yields what takes (done, total)."""
    if invocation().as_json or not sys.stderr.isatty():
        yield _unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{number(round(task.speed))}/s" if task.speed else "")

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)

        def move(done: int, known: int | None) -> None:
            bar.update(task, completed=done, total=total if known is None else known)

        yield move


def _unseen(_done: int, _known: int | None) -> None:
    """Stand in for a bar that nobody would see."""

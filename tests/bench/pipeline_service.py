"""The service as `pipeline.py` runs it: the product's own, with a clock on its commits, and profiled when asked to.

`pipeline_service.py FIGURES [--profile]` runs in an installation until SIGTERM and leaves the commits' milliseconds in FIGURES. The
profile, of either thread's own CPU time, goes to FIGURES too, as text.
"""

from __future__ import annotations

import cProfile
import io
import json
import os
import pstats
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import event

from broadcaster.files.settings import load_settings
from broadcaster.service.app import run
from broadcaster.service.installation import Installation, open_installation
from broadcaster.store.writer import Writer

MOST_LINES = 45
MOST_STATEMENTS = 20
STATEMENT_WIDTH = 110


def time_commits(installation: Installation) -> list[float]:
    """Return a list that gets the milliseconds of every commit of the writer's thread from now on."""
    dialect = installation.store.engine.dialect
    commit, spent_ms = dialect.do_commit, []

    def timed(connection: Any) -> None:
        began = time.perf_counter()
        commit(connection)
        if threading.current_thread().name == "writer":
            spent_ms.append((time.perf_counter() - began) * 1e3)

    dialect.do_commit = timed  # type: ignore[method-assign, assignment]
    return spent_ms


def profile_writer() -> cProfile.Profile:
    """Return the profile of the writer's thread, which is yet to start."""
    profile, live = cProfile.Profile(time.thread_time), Writer._run

    def profiled(writer: Writer) -> None:
        profile.runcall(live, writer)

    Writer._run = profiled  # type: ignore[method-assign, assignment]
    return profile


def time_statements(installation: Installation) -> dict[str, list[float]]:
    """Return what gets, for each statement from now on, how often it ran and the CPU seconds of its thread in it."""
    spent: dict[str, list[float]] = {}

    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.thread_time()

    def after(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        row = spent.setdefault(statement, [0, 0.0])
        row[0] += 1
        row[1] += time.thread_time() - connection.info["began"]

    event.listen(installation.store.engine, "before_cursor_execute", before)
    event.listen(installation.store.engine, "after_cursor_execute", after)
    return spent


def statement_table(spent: dict[str, list[float]]) -> str:
    """Return the costliest statements, a line each."""
    rows = sorted(spent.items(), key=lambda item: -item[1][1])[:MOST_STATEMENTS]
    lines = [f"{seconds:8.3f} s {runs:7,} x  {' '.join(statement.split())[:STATEMENT_WIDTH]}" for statement, (runs, seconds) in rows]
    return "\n".join(["statements, by CPU time", *lines])


def table(name: str, profile: cProfile.Profile) -> str:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(MOST_LINES)
    return f"{name}, by CPU time of its own\n{text.getvalue()}"


def main() -> None:
    figures, *options = sys.argv[1:]
    settings = load_settings(Path(os.environ["BROADCASTER_CONFIG"]), os.environ)
    installation = open_installation(settings, actor="service", service=True)
    commits_ms = time_commits(installation)
    texts = []
    if "--profile" in options:
        statements = time_statements(installation)
        writer, loop = profile_writer(), cProfile.Profile(time.thread_time)
        loop.runcall(run, installation)
        texts = [table("event loop", loop), table("writer", writer), statement_table(statements)]
    else:
        run(installation)
    Path(figures).write_text(json.dumps({"commits_ms": commits_ms, "profile": texts}))


if __name__ == "__main__":
    main()

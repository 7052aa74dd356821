"""Break the program's promises one by one, each in a copy of the tree, and see that the tests notice: `python -m tests.mutants.hunt`.

`--only TEXT` takes the mutants whose names have it. The same tests must pass in a copy that is as it should be. A mutant that no
longer fits the sources, a test that is not there or that does not end in time is a failure of the hunt, and no catch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants.table import MUTANTS, Mutant

ROOT: Final = Path(__file__).parents[2]
LIMIT_S: Final = 400
SHOWN_LINES: Final = 40
UNBROKEN: Final = "as it should be"
PASSED: Final = 0
FAILED: Final = 1
"""pytest's word for a test that failed; one that is not there, or cannot be imported, ends otherwise."""
_LEFT_OUT: Final = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "demo-state", "node_modules")


class Run(NamedTuple):
    """Tests in one copy: what they were for, whether they went as they must, and what they said."""

    name: str
    tests: tuple[str, ...]
    right: bool
    said: str
    took_s: float


def misfits(mutant: Mutant, root: Path) -> list[str]:
    """Return the edits whose old text is not exactly once in its file under `root`."""
    counts = [(edit, (root / edit.path).read_text(encoding="utf-8").count(edit.old)) for edit in mutant.edits]
    return [f"{edit.path}: {count} times: {edit.old!r}" for edit, count in counts if count != 1]


@contextmanager
def _copy(source: Path, mutant: Mutant | None = None) -> Iterator[Path]:
    """Copy the tree at `source` to a temporary folder, broken by `mutant`."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        root = Path(folder) / "tree"
        shutil.copytree(source, root, ignore=_LEFT_OUT)
        for edit in mutant.edits if mutant else ():
            path = root / edit.path
            path.write_text(path.read_text(encoding="utf-8").replace(edit.old, edit.new), encoding="utf-8")
        yield root


def _pytest(root: Path, tests: Sequence[str]) -> tuple[int | None, str]:
    """Run tests up to the first that fails; return the exit code, None when there was no end in time, and what was said."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("BROADCASTER_", "PYTEST_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=root,
        env={**environment, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, f"no end in {LIMIT_S} s"
    return process.returncode, said.strip()


def _hunt(source: Path, mutant: Mutant | None, trials: Sequence[tuple[str, ...]]) -> list[Run]:
    """Run the trials one after the other in one copy of `source`."""
    name = mutant.name if mutant else UNBROKEN
    if mutant and (wrong := misfits(mutant, source)):
        return [Run(name, (), right=False, said=f"does not fit any more: {'; '.join(wrong)}", took_s=0)]
    runs = []
    with _copy(source, mutant) as root:
        for tests in trials:
            began = time.monotonic()
            code, said = _pytest(root, tests)
            runs.append(Run(name, tests, right=code == (FAILED if mutant else PASSED), said=said, took_s=time.monotonic() - began))
    return runs


def _tell(run: Run) -> None:
    word = "ok" if run.right else "WRONG" if run.name == UNBROKEN else "NOT NOTICED"
    test, *more = (test.rpartition("/")[2] for test in run.tests or ("",))
    print(f"{word:12}{run.took_s:6.1f} s  {run.name:52}{test}{' …' if more else ''}", flush=True)
    if not run.right:
        print("\n".join(f"    {line}" for line in run.said.splitlines()[-SHOWN_LINES:]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    trials = list(dict.fromkeys(trial for mutant in chosen for trial in mutant.trials))
    wrong = 0
    began = time.monotonic()
    # All copies are made of one, so that whoever goes on working meanwhile changes nothing.
    with _copy(ROOT) as source, ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(_hunt, source, None, [trial]) for trial in trials]
        jobs += [pool.submit(_hunt, source, mutant, mutant.trials) for mutant in chosen]
        for job in jobs:
            for run in job.result():
                wrong += not run.right
                _tell(run)
    print(f"{len(chosen)} mutants, {len(trials)} trials, {time.monotonic() - began:.0f} s; wrong: {wrong}")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())

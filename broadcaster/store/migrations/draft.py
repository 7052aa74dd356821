"""Draft a migration from what store/schema.py says now: ``python -m broadcaster.store.migrations.draft 0002 "What changes"``.

The file is a draft: read it, mend it, format it with ruff, set `schema.HEAD`. To draft a migration anew, delete its file first.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from alembic import command

from broadcaster.store.engine import Store
from broadcaster.store.upgrade import config, upgrade

VERSIONS = Path(__file__).with_name("versions")


def draft(revision: str, message: str) -> Path:
    """Write the difference between the migrations so far and the schema as a new migration; return its file."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/draft.db")
        upgrade(store)
        with store.write() as connection:
            command.revision(config(connection), message, autogenerate=True, rev_id=revision)
        store.close()
    path = next(VERSIONS.glob(f"{revision}_*.py"))
    text = re.sub(r"^ *# ### .* ###\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(re.sub(r"""text\((['"])\((true|false)\)\1\)""", r"text(\1\2\1)", text), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{draft(*sys.argv[1:3])}\n")

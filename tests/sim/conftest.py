"""Let the simulation's modules find each other, and leave nothing in memory when the tests are over."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _no_installation_is_left() -> Iterator[None]:
    from sim_field import discard_master

    yield
    discard_master()

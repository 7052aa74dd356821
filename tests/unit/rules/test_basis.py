"""Number and date of the request behind the data."""

import datetime as dt

import pytest

from broadcaster.errors import ConfigurationError
from broadcaster.rules.basis import Basis, check_basis

NOW = dt.datetime(2026, 3, 11, 18, tzinfo=dt.UTC)
"""Already the twelfth in Vietnam."""
TODAY = dt.date(2026, 3, 12)


@pytest.mark.parametrize("number", ["12/CV-SKHCN", "01/DT", "752/QĐ-UBND", "12 CV", "5"])
def test_numbers_of_documents(number: str) -> None:
    check_basis(Basis(number, TODAY), NOW)
    check_basis(Basis(number, dt.date(2019, 6, 12)), NOW)


@pytest.mark.parametrize("number", ["", "CV", "=1+1", "12/CV\n", "số 0912345678", "1" * 61])
def test_what_is_no_number_of_a_document(number: str) -> None:
    with pytest.raises(ConfigurationError):
        check_basis(Basis(number, TODAY), NOW)


@pytest.mark.parametrize("date", [TODAY + dt.timedelta(days=1), dt.date(2019, 6, 11)])
def test_a_date_before_the_directive_or_ahead(date: dt.date) -> None:
    with pytest.raises(ConfigurationError):
        check_basis(Basis("12/CV", date), NOW)

from __future__ import annotations

import pytest

from etl.core import errors
from etl.core.rejects import Reason


def test_a_message_says_what_where_value_allowed_and_remedy() -> None:
    error = errors.ConfigError(
        "wrong spacing", where="a.yaml", value=-1, allowed="0.05 to 100", remedy="change it"
    )
    assert str(error) == (
        "wrong spacing\n  where:   a.yaml\n  value:   -1\n  allowed: 0.05 to 100\n  remedy:  change it"
    )


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), ("", "''"), (False, "False"), ([], "[]")])
def test_a_value_that_is_empty_or_zero_is_shown(value: object, shown: str) -> None:
    assert str(errors.StoreError("wrong", value=value)) == f"wrong\n  value:   {shown}"
    assert str(errors.StoreError("wrong")) == "wrong"


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.EtlError, 1),
        (errors.ConfigError, 2),
        (errors.SourceError, 2),
        (errors.StoreError, 2),
        (errors.GuardError, 3),
        (errors.RunError, 4),
    ],
)
def test_exit_codes(kind: type[errors.EtlError], exit_code: int) -> None:
    assert kind("x").exit_code == exit_code
    assert isinstance(kind("x"), errors.EtlError)


def test_a_slice_error_carries_its_reason_and_ends_no_run() -> None:
    error = errors.SliceError(Reason.SLICE_NOT_PNG, "no signature")
    assert (str(error), error.reason, error.message) == (
        "slice_not_png: no signature",
        Reason.SLICE_NOT_PNG,
        "no signature",
    )
    assert not isinstance(error, errors.EtlError)

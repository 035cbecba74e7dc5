"""Pickles are read without running anything: the values that Python reads, or an error with a name."""

from __future__ import annotations

import base64
import pickle
import pickletools
from collections import Counter, OrderedDict
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.annotations.pickles import ALLOWED_NAMES, read_pickle
from etl.core.errors import SourceError

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=300),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner, inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("protocol", range(2, 6))
@given(value=plain)
@settings(deadline=None)
def test_plain_values_are_read_as_python_reads_them(protocol: int, value: Any) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "a.pkl") == value


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "i1", "<i8", "u2", "?", ">i4"])
@pytest.mark.parametrize("shape", [(0, 6), (3,), (2, 6), (2, 1, 3)])
def test_arrays_are_read_as_lists(protocol: int, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    found = read_pickle(pickle.dumps({"a": array, "b": [array, array]}, protocol), "a.pkl")
    assert found == {"a": array.tolist(), "b": [array.tolist()] * 2}


PYTHON_2 = (
    (
        "KGRwMQpTJ2EnCmNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnAyCihjbnVtcHkKbmRhcnJheQpwMwooSTAK"
        "dFMnYicKdFJwNAooSTEKKEkxCkkyCnRjbnVtcHkKZHR5cGUKcDUKKFMnZjgnCkkwCkkxCnRScDYKKEkzClMnPCcKTk5OSS0x"
        "CkktMQpJMAp0YkkwMApTJ1x4MDBceDAwXHgwMFx4MDBceDAwXHgwMFx4Zjg/XHgwMFx4MDBceDAwXHgwMFx4MDBceDAwXHgw"
        "MFx4YzAnCnRic1MnYycKUyd4JwpzUydiJwoobHA3CmNudW1weS5jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnA4CihnNgpTJ1x4"
        "OWFceDk5XHg5OVx4OTlceDk5XHg5OVx4Yjk/Jwp0UnA5CmFnOAooZzUKKFMnaTInCkkwCkkxCnRScDEwCihJMwpTJzwnCk5O"
        "TkktMQpJLTEKSTAKdGJTJ1x4ZmRceGZmJwp0UnAxMQphc1MnZCcKTDNMCnMu"
    ),
    (
        "fXEBKFUBYWNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnECKGNudW1weQpuZGFycmF5CnEDKEsAdFUBYnRS"
        "cQQoSwEoSwFLAnRjbnVtcHkKZHR5cGUKcQUoVQJmOEsASwF0UnEGKEsDVQE8Tk5OSv////9K/////0sAdGJJMDAKVRAAAAAA"
        "AAD4PwAAAAAAAADAdGJVAWNVAXhVAWJdcQcoY251bXB5LmNvcmUubXVsdGlhcnJheQpzY2FsYXIKcQgoaAZVCJqZmZmZmbk/"
        "dFJxCWgIKGgFKFUCaTJLAEsBdFJxCihLA1UBPE5OTkr/////Sv////9LAHRiVQL9/3RScQtlVQFkTDNMCnUu"
    ),
    (
        "gAJ9cQEoVQFhY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcQJjbnVtcHkKbmRhcnJheQpxA0sAhVUBYodS"
        "cQQoSwFLAUsChmNudW1weQpkdHlwZQpxBVUCZjhLAEsBh1JxBihLA1UBPE5OTkr/////Sv////9LAHRiiVUQAAAAAAAA+D8A"
        "AAAAAAAAwHRiVQFjVQF4VQFiXXEHKGNudW1weS5jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnEIaAZVCJqZmZmZmbk/hlJxCWgI"
        "aAVVAmkySwBLAYdScQooSwNVATxOTk5K/////0r/////SwB0YlUC/f+GUnELZVUBZIoBA3Uu"
    ),
)
"""The value of the test below as pickled by Python 2.7.18, numpy 1.16.6, in base64: protocols 0, 1, 2."""


@pytest.mark.parametrize("data", PYTHON_2)
def test_pickles_of_python_2_are_read(data: str) -> None:
    """Its text is bytes, and so are the numbers of its arrays."""
    expected = {"a": [[1.5, -2.0]], "b": [0.1, -3], "c": "x", "d": 3}
    assert read_pickle(base64.b64decode(data), "a.pkl") == expected


@pytest.mark.parametrize("protocol", range(2, 6))
def test_scalars_are_read_as_numbers(protocol: int) -> None:
    values = [np.float64(0.1), np.float32(2.5), np.int64(-3), np.bool_(True), np.uint8(255)]
    found = read_pickle(pickle.dumps(values, protocol), "a.pkl")
    assert found == [0.1, 2.5, -3, True, 255]
    assert [type(value) for value in found] == [float, float, int, bool, int]


REFUSED = [
    (Fraction(1, 2), "fractions.Fraction"),
    (PurePosixPath("a"), "pathlib.PurePosixPath"),
    (OrderedDict(a=1), "collections.OrderedDict"),
    (Counter("a"), "collections.Counter"),
    (len, "builtins.len"),
    (np.array(["text"], object), ""),
    ({1, 2}, ""),
]


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(("value", "name"), REFUSED, ids=[str(value)[:20] for value, _ in REFUSED])
def test_anything_else_is_refused_by_name(protocol: int, value: Any, name: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_pickle(pickle.dumps([value], protocol), "a.pkl")
    assert name.rsplit(".", 1)[-1] in str(caught.value) or not name
    assert "a.pkl" in str(caught.value)


class Trap:
    """An object whose pickle calls `remember` when Python opens it."""

    seen: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return remember, ("opened",)


def remember(text: str) -> str:
    Trap.seen.append(text)
    return text


@pytest.mark.parametrize("protocol", range(2, 6))
def test_nothing_runs(protocol: int) -> None:
    data = pickle.dumps({"000001_01_01_103-115": [Trap()]}, protocol)
    Trap.seen.clear()
    with pytest.raises(SourceError, match="remember"):
        read_pickle(data, "a.pkl")
    assert Trap.seen == []
    assert pickle.loads(data)
    assert Trap.seen == ["opened"]


def test_a_long_key_of_shared_tuples_is_refused_at_once() -> None:
    """Hashing it would take 2 ** 200 steps."""
    data = b"\x80\x02(K\x01K\x02\x86" + b"".join(b"2\x86" for _ in range(200)) + b"K\x01d."
    assert [opcode.name for opcode, _, _ in pickletools.genops(data)][-2:] == ["DICT", "STOP"]
    with pytest.raises(SourceError):
        read_pickle(data, "a.pkl")


def test_allowed_names_are_few() -> None:
    assert len(ALLOWED_NAMES) == 11
    assert not [name for name in ALLOWED_NAMES if "eval" in name or "system" in name or "import" in name]


@given(data=st.binary(max_size=300))
@settings(deadline=None)
def test_any_opcodes(data: bytes) -> None:
    for start in (b"", b"\x80\x02", b"\x80\x04"):
        try:
            read_pickle(start + data + b".", "a.pkl")
        except SourceError:
            continue

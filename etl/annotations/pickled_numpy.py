"""Read the names that pickles of numpy arrays ask for, by pure functions of dtypes, shapes and bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from etl.annotations.documents import shown

MOST_VALUES = 10_000_000
_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))


class PickleError(ValueError):
    """The pickle does not hold together."""


class DType:
    """A dtype of numbers: its code and its byte order."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or code not in _NUMBERS:
            raise PickleError(f"dtype {shown(code)}, allowed: {', '.join(sorted(_NUMBERS))}")
        self.code, self.order = code, "<"

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise PickleError("the state of a dtype has no byte order")
        if any(part is not None for part in state[2:5]):
            raise PickleError("a dtype with fields or sub-arrays, allowed: numbers")
        self.order = "<" if state[1] in "|=" else state[1]

    def values(self, data: Any, count: int) -> Any:
        dtype = np.dtype(self.order + self.code)
        data = data.encode("latin-1") if isinstance(data, str) else data  # of Python 2, whose text is bytes
        if not isinstance(data, bytes) or len(data) != count * dtype.itemsize:
            raise PickleError(f"{count} numbers of {dtype} need {count * dtype.itemsize} bytes")
        return np.frombuffer(data, dtype)


class Array(list[Any]):
    """An array as nested lists, filled by its state."""

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], (bool, int)):
            raise PickleError("the state of an array is not (version, shape, dtype, is Fortran, bytes)")
        self.fill(state[4], state[2], state[1], "F" if state[3] else "C")

    def fill(
        self, data: Any, dtype: Any, shape: Any, order: Literal["C", "F"], axes: tuple[int, ...] | None = None
    ) -> None:
        if not isinstance(dtype, DType) or not isinstance(shape, tuple) or not 1 <= len(shape) <= 4:
            raise PickleError("an array without a dtype of numbers and a shape of 1 to 4 axes")
        if not all(type(n) is int and 0 <= n <= MOST_VALUES for n in shape):
            raise PickleError("an array's shape is out of range")
        count = 1
        for n in shape:
            count *= n
        if count > MOST_VALUES:
            raise PickleError(f"an array of {count} numbers, allowed: {MOST_VALUES}")
        values = dtype.values(data, count).reshape(shape, order=order)
        self[:] = (values if axes is None else values.transpose(axes)).tolist()


def _scalar(dtype: Any = None, data: Any = None) -> Any:
    if not isinstance(dtype, DType):
        raise PickleError("a scalar without a dtype of numbers")
    return dtype.values(data, 1)[0].item()


def _reconstruct(kind: Any = None, *_: Any) -> Array:
    if kind != "numpy.ndarray":
        raise PickleError("an array of another class")
    return Array()


def _from_buffer(
    data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C", axes: Any = None
) -> Array:
    if order not in ("C", "F", "K") or (order == "K") != isinstance(axes, tuple):
        raise PickleError("an array in another than C, Fortran or a given order of axes")
    array = Array()
    array.fill(data, dtype, shape, "F" if order == "F" else "C", axes)
    return array


def _encode(letters: Any = None, encoding: Any = None) -> bytes:
    if not isinstance(letters, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("bytes in another encoding than latin1")
    return letters.encode("latin-1")


def _empty_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise PickleError("bytes with arguments")
    return b""


READINGS: dict[str, Callable[..., Any] | None] = {
    "numpy.dtype": DType,
    "numpy.ndarray": None,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
}
"""Functions by the names that a pickle may ask for, as `module.name`."""

"""Pickles of plain values and numpy numbers, read without Python's unpickler: nothing in one ever runs.

The opcodes are listed by `pickletools` and interpreted here. Lists, mappings, numbers and text become
themselves; the few names that pickles of numpy arrays ask for have pure readings of their own; any other name
or opcode is refused before the first value is made.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

import numpy as np

from etl.annotations.documents import check_size, shown
from etl.core.errors import SourceError
from etl.release.csv_records import excerpt

MOST_BYTES = 1 << 26
"""The largest known pickle has 1.7 MB for 4,885 boxes; the whole release's would have 12."""
MOST_VALUES = 10_000_000
_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_MARK = object()


class _PickleError(ValueError):
    """The pickle does not hold together."""


class _Name(str):
    """A name that the pickle asks for, as `module.name`."""


class _DType:
    """A dtype of numbers: its code and its byte order."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or code not in _NUMBERS:
            raise _PickleError(f"dtype {shown(code)}, allowed: {', '.join(sorted(_NUMBERS))}")
        self.code, self.order = code, "<"

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _PickleError("the state of a dtype has no byte order")
        if any(part is not None for part in state[2:5]):
            raise _PickleError("a dtype with fields or sub-arrays, allowed: numbers")
        self.order = "<" if state[1] in "|=" else state[1]

    def values(self, data: Any, count: int) -> Any:
        dtype = np.dtype(self.order + self.code)
        if not isinstance(data, bytes) or len(data) != count * dtype.itemsize:
            raise _PickleError(f"{count} numbers of {dtype} need {count * dtype.itemsize} bytes")
        return np.frombuffer(data, dtype)


class _Array(list[Any]):
    """An array as nested lists, filled by its state."""

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], (bool, int)):
            raise _PickleError("the state of an array is not (version, shape, dtype, is Fortran, bytes)")
        self.fill(state[4], state[2], state[1], "F" if state[3] else "C")

    def fill(
        self, data: Any, dtype: Any, shape: Any, order: Literal["C", "F"], axes: tuple[int, ...] | None = None
    ) -> None:
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or not 1 <= len(shape) <= 4:
            raise _PickleError("an array without a dtype of numbers and a shape of 1 to 4 axes")
        if not all(type(n) is int and 0 <= n <= MOST_VALUES for n in shape):
            raise _PickleError("an array's shape is out of range")
        count = 1
        for n in shape:
            count *= n
        if count > MOST_VALUES:
            raise _PickleError(f"an array of {count} numbers, allowed: {MOST_VALUES}")
        values = dtype.values(data, count).reshape(shape, order=order)
        self[:] = (values if axes is None else values.transpose(axes)).tolist()


def _scalar(dtype: Any = None, data: Any = None) -> Any:
    if not isinstance(dtype, _DType):
        raise _PickleError("a scalar without a dtype of numbers")
    return dtype.values(data, 1)[0].item()


def _reconstruct(kind: Any = None, *_: Any) -> _Array:
    if kind != "numpy.ndarray":
        raise _PickleError("an array of another class")
    return _Array()


def _from_buffer(
    data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C", axes: Any = None
) -> _Array:
    if order not in ("C", "F", "K") or (order == "K") != isinstance(axes, tuple):
        raise _PickleError("an array in another than C, Fortran or a given order of axes")
    array = _Array()
    array.fill(data, dtype, shape, "F" if order == "F" else "C", axes)
    return array


def _encode(letters: Any = None, encoding: Any = None) -> bytes:
    if not isinstance(letters, str) or encoding not in ("latin1", "latin-1"):
        raise _PickleError("bytes in another encoding than latin1")
    return letters.encode("latin-1")


def _empty_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise _PickleError("bytes with arguments")
    return b""


_READINGS: dict[str, Callable[..., Any] | None] = {
    "numpy.dtype": _DType,
    "numpy.ndarray": None,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
}
ALLOWED_NAMES = tuple(_READINGS)
"""Names that a pickle may ask for, as `module.name`."""

_PUSH = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OTHERS = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "TUPLE", "LIST"),
        *("DICT", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "REDUCE", "BUILD"),
    )
)
_ALLOWED_OPCODES = _PUSH | _CONSTANTS.keys() | _EMPTY.keys() | _PUT | _GET | _TUPLES.keys() | _OTHERS


def read_pickle(data: bytes, source: str) -> Any:
    """Return what a pickle of plain values and numpy numbers holds: arrays as nested lists.

    Raises:
        SourceError: it is empty, too large or damaged, or asks for a name or an opcode that is not allowed.
    """
    check_size(data, source, MOST_BYTES)
    try:
        _check_opcodes(_opcodes(data), source)
        return _Machine(source).run(_opcodes(data))
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SourceError(
            "the pickle is damaged, or holds something other than numbers, text, lists and mappings",
            where=source,
            value=excerpt(f"{type(error).__name__}: {error}", 200),
            allowed="a pickle of lists, mappings and numpy numbers",
            remedy="fetch the file again from where its authors publish it",
        ) from None


def _opcodes(data: bytes) -> Iterator[tuple[str, Any]]:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= MOST_VALUES:
            raise _PickleError(f"more than {MOST_VALUES} opcodes")
        yield opcode.name, argument


def _check_opcodes(opcodes: Iterator[tuple[str, Any]], source: str) -> None:
    """Refuse names and opcodes that are not allowed, before any value is made."""
    for name, argument in opcodes:
        if name not in _ALLOWED_OPCODES:
            _refuse(f"the opcode {name}", source)
        if name == "GLOBAL" and argument.replace(" ", ".") not in _READINGS:
            _refuse(argument.replace(" ", "."), source)


def _refuse(asked: str, source: str) -> NoReturn:
    raise SourceError(
        "the pickle asks for something that no file of annotations needs; nothing of it was run",
        where=source,
        value=excerpt(asked),
        allowed=", ".join(ALLOWED_NAMES),
        remedy="don't open this file with Python's pickle; fetch it again from where its authors publish it",
    )


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, opcodes: Iterator[tuple[str, Any]]) -> Any:
        for name, argument in opcodes:
            self._step(name, argument)
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise _PickleError("it does not end with one value")
        return self._stack[0]

    def _step(self, name: str, argument: Any) -> None:
        stack, memo = self._stack, self._memo
        if name in _PUSH:
            stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _PUT:
            memo[argument] = stack[-1]
        elif name in _GET:
            stack.append(memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise _PickleError("a tuple of more values than there are")
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name == "GLOBAL":
            stack.append(_Name(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            asked = f"{module}.{last}" if isinstance(module, str) and isinstance(last, str) else "no name"
            if asked not in _READINGS:
                _refuse(asked, self._source)
            stack.append(_Name(asked))
        elif name in ("TUPLE", "LIST"):
            items = self._to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DICT":
            stack.append(_pairs(self._to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._to_mark()
            _plain(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._to_mark()
            _plain(stack[-1], dict).update(_pairs(items))
        elif name == "REDUCE":
            arguments, reading = stack.pop(), stack.pop()
            make = _READINGS.get(reading) if isinstance(reading, _Name) else None
            if make is None or not isinstance(arguments, tuple):
                raise _PickleError("a call of something that is no allowed name")
            stack.append(make(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], (_DType, _Array)):
                raise _PickleError("a state for something that takes none")
            stack[-1].build(state)

    def _to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise _PickleError("a mark is missing")


def _plain(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _PickleError(f"items for a {type(value).__name__}, allowed: a {kind.__name__}")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise _PickleError("a mapping with a key and no value")
    # Hashing a tuple of tuples that share their items takes time without bound.
    if not all(isinstance(key, (str, bytes, int, float)) for key in items[::2]):
        raise _PickleError("a mapping whose keys are not numbers or text")
    return dict(zip(items[::2], items[1::2], strict=True))

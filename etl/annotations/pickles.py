"""Pickles of plain values and numpy numbers, read without Python's unpickler: nothing in one ever runs.

The opcodes are those of `pickletools`, interpreted here. Lists, mappings, numbers and text become
themselves; the few names that pickles of numpy arrays ask for have pure readings of their own; any other name
or opcode is refused before the first value is made.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from etl.annotations.documents import check_size
from etl.annotations.pickled_numpy import MOST_VALUES, READINGS, Array, DType, PickleError
from etl.core.errors import SourceError
from etl.release.csv_records import excerpt

MOST_BYTES = 1 << 26
"""The largest known pickle has 1.7 MB for 4,885 boxes; the whole release's would have 12."""
_MARK = object()


class _Name(str):
    """A name that the pickle asks for, as `module.name`."""


ALLOWED_NAMES = tuple(READINGS)
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
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
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
    """Yield name and argument of each opcode; bytes that Python 2 calls text as latin-1 in each protocol."""
    stream = io.BytesIO(data)
    for _ in range(MOST_VALUES):
        opcode = _OPCODES.get(stream.read(1).decode("latin-1"))
        if opcode is None:
            raise PickleError(f"no opcode before byte {stream.tell()}")
        argument: Any = None
        if opcode.name == "STRING":
            escaped = pickletools.read_stringnl(stream, decode=False)
            argument = codecs.escape_decode(escaped)[0].decode("latin-1")
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        yield opcode.name, argument
        if opcode.name == "STOP":
            return
    raise PickleError(f"more than {MOST_VALUES} opcodes")


def _check_opcodes(opcodes: Iterator[tuple[str, Any]], source: str) -> None:
    """Refuse names and opcodes that are not allowed, before any value is made."""
    for name, argument in opcodes:
        if name not in _ALLOWED_OPCODES:
            _refuse(f"the opcode {name}", source)
        if name == "GLOBAL" and argument.replace(" ", ".") not in READINGS:
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
            raise PickleError("it does not end with one value")
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
                raise PickleError("a tuple of more values than there are")
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
            if asked not in READINGS:
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
            make = READINGS.get(reading) if isinstance(reading, _Name) else None
            if make is None or not isinstance(arguments, tuple):
                raise PickleError("a call of something that is no allowed name")
            stack.append(make(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], (DType, Array)):
                raise PickleError("a state for something that takes none")
            stack[-1].build(state)

    def _to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise PickleError("a mark is missing")


def _plain(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise PickleError(f"items for a {type(value).__name__}, allowed: a {kind.__name__}")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise PickleError("a mapping with a key and no value")
    # Hashing a tuple of tuples that share their items takes time without bound.
    if not all(isinstance(key, (str, bytes, int, float)) for key in items[::2]):
        raise PickleError("a mapping whose keys are not numbers or text")
    return dict(zip(items[::2], items[1::2], strict=True))

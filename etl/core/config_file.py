"""Read a config: YAML, then the environment, then `--set`; the last one wins.

    volume: {spacing_mm: 0.8}                     in conf/mine.yaml
    DEEPLESION__VOLUME__SPACING_MM=0.8            in the environment
    --set volume.spacing_mm=0.8                   on the command line

A wrong key, type or value stops the job before any work. So does a credential in the file or in `--set`,
which others can read; no message repeats it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from etl.core.config import CREDENTIALS_BELONG, Config
from etl.core.errors import ConfigError
from etl.core.own_configs import find_config, own_configs
from etl.core.secrets import credential_in, without_credentials

Model = TypeVar("Model", bound=BaseModel)

ENVIRONMENT_PREFIX = "DEEPLESION__"
MOST_NESTED = 50
"""Levels of sections and lists in a config; ours have four."""
# Keys with these words hold secrets; no config of this package has one.
SECRET_KEY = re.compile(
    r"(?:\A|_)(?:key|secret|token|password|passwd|credentials?|auth)(?:\Z|_)", re.IGNORECASE
)


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2's core schema. A key written twice is refused; else the last one would silently win.

    So are aliases (`*name`), of which a few lines can make billions of values, and deep nesting.

    PyYAML's own schema is 1.1: it reads 000001_01_01 as an octal number and 1e-3 as text.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = cast("Any", self).peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not taken; write the value out", mark
            )
        if self._depth >= MOST_NESTED:
            raise yaml.composer.ComposerError(None, None, f"more than {MOST_NESTED} levels of nesting", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen: set[Hashable] = set()
        for key in keys:
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """YAML whose texts are texts for `_StrictLoader` and readers of YAML 1.1: 0E0 is quoted, as 0x1 is."""


_StrictLoader.yaml_implicit_resolvers = {}
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_decimal)
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.")),
):
    for _class in (_StrictLoader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"{_pattern}\Z"), _first)


def as_yaml(data: Mapping[str, Any], *, allow_unicode: bool = False) -> str:
    """Return a config's keys and values as YAML that `load_as` reads as the same."""
    text: str = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode)
    return text.rstrip()


def load_config(
    path: str | Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Return the config of a build; see `load_as`."""
    return load_as(Config, path, overrides, environment)


def load_as(
    model: type[Model],
    path: str | Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Model:
    """Read one YAML file, then apply the environment, then `key.path=value` overrides.

    Args:
        model: class of the config.
        path: of the file, or a bare name of a config that comes with the package, such as demo.

    Raises:
        ConfigError: naming the key, its value and the values allowed.
    """
    data, places = read_mapping(path), [str(path)]
    _refuse_credentials(json.loads(_as_json(data, str(path))), str(path))
    for name, value in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _assign(data, keys, _parse_yaml(value, f"environment variable {name}"), name)
            places.append(name)
    for override in overrides:
        dotted, separator, value = override.partition("=")
        if not separator or not dotted:
            raise ConfigError(
                "--set takes key.path=value",
                value=without_credentials(override),
                remedy="for example --set volume.spacing_mm=0.8",
            )
        where = f"--set {without_credentials(dotted)}"
        parsed, keys = _parse_yaml(value, where), dotted.strip().split(".")
        _refuse_credentials(json.loads(_as_json(parsed, where)), where, keys)
        _assign(data, keys, parsed, where)
        places.append(where)
    remedy = "change the file, the environment or --set; nothing was done"
    return validated(model, data, ", ".join(places), remedy)


def read_mapping(path: str | Path) -> dict[Any, Any]:
    """Return the keys and values of a YAML file, unchecked.

    Raises:
        ConfigError: it can't be read, or is no mapping.
    """
    try:
        text = find_config(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the config can't be read",
            where=str(path),
            value=str(error),
            allowed=f"a YAML file, or the package's own: {', '.join(own_configs())}",
            remedy="write one: deeplesion config mine > mine.yaml",
        ) from error
    data = _parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError("the config is not a mapping of keys to values", where=str(path))
    return data


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # An explicit tag on the wrong text, as in `!!float x`, raises errors of many kinds.
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(
            f"this is not valid YAML: {without_credentials(str(getattr(error, 'problem', None) or error))}",
            where=f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where,
        ) from None  # its text shows the line


def _assign(data: dict[Any, Any], keys: list[str], value: Any, where: str) -> None:
    target = data
    for key in keys[:-1]:
        inner = target.get(key)
        if inner is None:
            inner = target[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"`{key}` is a value, not a section", where=where, value=_shown(inner))
        target = inner
    target[keys[-1]] = value


def _refuse_credentials(data: Any, where: str, keys: Sequence[str] = ()) -> None:
    """Raise ConfigError, without the value, where a key or value of the config carries a credential.

    Args:
        keys: path of the data in the config.
    """
    kind = ""
    if any(SECRET_KEY.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)) for key in keys[-1:]):
        kind = "a key for a secret"
    elif isinstance(data, str):
        kind = credential_in(data)
    if kind:
        raise ConfigError(
            f"credentials don't belong in a config, or on a command line: {kind}",
            where=f"{where}: `{without_credentials('.'.join(keys))}`",
            allowed="places without user, password, signature or token",
            remedy=CREDENTIALS_BELONG,
        )
    if isinstance(data, dict):
        for key, value in data.items():
            _refuse_credentials(str(key), where, [*keys, "(a key)"])
            _refuse_credentials(value, where, [*keys, str(key)])
    elif isinstance(data, list):
        for number, value in enumerate(data):
            _refuse_credentials(value, where, [*keys, str(number)])


def _shown(value: Any) -> str:
    """Return a value as text for messages."""
    return without_credentials(json.dumps(value, ensure_ascii=False, default=str))


def _as_json(data: Any, where: str) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            "the config holds something other than plain values",
            where=where,
            value=str(error),
            allowed="text, numbers, true, false, null, lists, and sections with text as keys",
        ) from error


def validated(
    model: type[Model], data: dict[Any, Any], where: str, remedy: str = "change the file; nothing was done"
) -> Model:
    """Return keys and values as a config.

    Args:
        model: class of the config.
        where: the file that they come from.
        remedy: how to change them.

    Raises:
        ConfigError: naming every wrong key, its value and the values allowed.
    """
    text = _as_json(data, where)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = [without_credentials(_describe(model, item)) for item in error.errors(include_url=False)]
        raise ConfigError(
            "the config is wrong:\n" + "\n".join(f"  - {p}" for p in dict.fromkeys(problems)),
            where=where,
            remedy=remedy,
        ) from None


def _describe(model: type[BaseModel], item: Any) -> str:
    location = item["loc"]
    key = ".".join(str(part) for part in location) if location else "the config"
    if item["type"] == "extra_forbidden":
        section = _section(model, location[:-1])
        allowed = list(section.model_fields) if section else []
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f", did you mean `{near[0]}`" if near else ""
        return f"`{key}` is not a key{hint}; allowed here: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"`{key}` is required and not given"
    section = _section(model, location)
    if item["type"] in ("model_type", "model_attributes_type") and section:
        return f"`{key}` = {_shown(item['input'])} is not a section; its keys are: {_keys_of(section)}"
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(item["input"], dict) else f" = {_shown(item['input'])}"
    return f"`{key}`{shown}: {message[0].lower()}{message[1:]}"


def _section(model: type[BaseModel], location: Sequence[Any]) -> type[BaseModel] | None:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        models = [t for t in inner if issubclass(t, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model


def _keys_of(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)

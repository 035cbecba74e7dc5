"""The house: data flows release -> plan -> convert -> publish -> read, and no import runs the other way."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Which rooms of etl/ each room may import, itself left out; the order is that in which the data flows.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "io": {"core"},
    "imaging": set(),
    "staging": {"core", "io"},
    "release": {"core", "io", "staging"},
    "phantom": {"core", "imaging", "release"},
    "tables": {"core", "imaging", "release"},
    "derive": {"core", "io", "imaging", "tables"},
    "plan": {"core", "io", "imaging", "release"},
    "store": {"core", "io", "imaging", "tables", "derive"},
    "convert": {"core", "io", "imaging", "release", "plan", "store"},
    "publish": {"core", "io", "imaging", "release", "tables", "derive", "plan", "store", "convert"},
    "verify": {"core", "io", "imaging", "release", "tables", "store"},
    "run": {"core"},
    "annotations": {"core", "io", "imaging", "release", "tables", "store", "run"},
    "pipeline": {
        *("core", "io", "staging", "tables", "derive", "plan", "store", "convert", "publish", "run"),
    },
    "export": {"core", "io", "imaging", "release", "tables", "store"},
    "learn": {"core", "io", "imaging", "tables", "derive", "store"},
    "report": {
        *("core", "io", "imaging", "staging", "tables", "plan", "store", "convert", "verify"),
        *("run", "pipeline", "export"),
    },
}
# The command lines come last and may use every room.
MAY_IMPORT["commands"] = set(MAY_IMPORT)
# Third-party packages, and the only places that may import them.
ONLY_IN = {
    "dask": ("etl/run/", "etl/commands/"),
    "distributed": ("etl/run/",),
    "torch": ("etl/learn/",),
    "onnx": ("etl/learn/",),
    "onnxruntime": ("etl/derive/onnx_session.py",),
}
# Packages that etl/imaging, which takes and returns arrays, does not import.
NOT_IN_IMAGING = {"dask", "distributed", "zarr", "fsspec", "s3fs", "pandas", "pyarrow"}


NO_FIRST_WORDS = {"What", "Of", "Whether", "None", "How", "Where", "Which", "Whose", "Who", "As", "Not"}
# `beside` is also a value of the config key `overlap`, `whence` the name of seek's parameter.
BANNED = re.compile(
    r"\b(?:anew|whence(?!: int|\])|and the like|or the like|can't be had|is given up|of what is told)\b"
    r"|(?<!overlap: )(?<![`'\"|] )(?<![`'\"])\bbeside\b(?![`'\"])",
    re.IGNORECASE,
)
# Folders of tests that are no room: other top-level folders, and scenarios across rooms.
OTHER_TESTS = {"benchmarks", "operations", "support", "bad_input", "chaos", "remote", "tools"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file's syntax."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path: Path, *, for_typing: bool = True) -> Iterator[str]:
    """Yield the dotted names that a file imports, at its top or inside a function."""
    nodes = nodes_of(path)
    typing_only = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in nodes:
        if not for_typing and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute: from etl.room import name"
            module = node.module or ""
            # `from etl import plan` and `from etl.release import names` import modules.
            parts = (f"{module}.{alias.name}" for alias in node.names)
            yield from parts if module.split(".")[0] == "etl" else (module,)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(path: Path) -> str:
    return path.relative_to(ROOT / "etl").parts[0].removesuffix(".py")


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout, so tracked files are unknown")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_rooms_import_only_rooms_before_them() -> None:
    upward = {}
    for path in sources("etl"):
        own = room(path)
        if own == "__init__":
            continue
        assert own in MAY_IMPORT, f"a new room: add the rooms that it may import to {Path(__file__).name}"
        allowed = {f"etl.{name}" for name in {own, *MAY_IMPORT[own]}}
        names = [name for name in imports(path) if name.split(".")[0] == "etl"]
        if found := [n for n in names if not any(n == a or n.startswith(f"{a}.") for a in allowed)]:
            upward[relative(path)] = found
    assert upward == {}


def test_the_table_of_rooms_is_short_and_has_no_way_back() -> None:
    assert len(MAY_IMPORT) <= 20
    assert MAY_IMPORT["run"] == {"core"}, "executors know nothing of slices"
    seen: set[str] = set()
    for name, allowed in MAY_IMPORT.items():
        assert allowed <= seen, f"{name} imports a later room"
        seen.add(name)


def test_modules_form_no_circle() -> None:
    """Imports inside functions count, too; those for type checking only do not."""
    modules = {module_name(path): path for path in sources("etl")}
    graph = {}
    for name, path in modules.items():
        names = imports(path, for_typing=False)
        # `etl.room.module.name` imports the module, unless the name is a module itself.
        targets = (next((n for n in (i, i.rpartition(".")[0]) if n in modules), None) for i in names)
        graph[name] = {target for target in targets if target and target != name}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_imported_in_its_places_only(package: str) -> None:
    users = [
        relative(path)
        for path in sources("etl", "jobs")
        if any(name.split(".")[0] == package for name in imports(path))
    ]
    assert [user for user in users if not user.startswith(ONLY_IN[package])] == []


def test_imaging_knows_no_column() -> None:
    from etl.core.rejects import Reason
    from etl.tables.registry import TABLES

    columns = {name for table in TABLES.values() for name in table.schema.names}
    known = columns | {reason.value for reason in Reason}
    found = {
        relative(path): sorted(texts)
        for path in sources("etl/imaging")
        if (texts := known & {str(node.value) for node in nodes_of(path) if isinstance(node, ast.Constant)})
    }
    assert found == {}


def test_imaging_takes_arrays_and_gives_arrays() -> None:
    found = {
        relative(path): sorted(tops)
        for path in sources("etl/imaging")
        if (tops := {name.split(".")[0] for name in imports(path)} & NOT_IN_IMAGING)
    }
    assert found == {}


def test_at_most_two_modules_lie_loose_under_etl() -> None:
    loose = sorted(path.name for path in (ROOT / "etl").glob("*.py"))
    assert len(loose) <= 2, f"each belongs into a room: {loose}"


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders == set(MAY_IMPORT) | OTHER_TESTS


def test_no_file_is_named_for_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)")
    assert [
        relative(path) for path in sources("etl", "jobs", "benchmarks", "tests") if vague.search(path.stem)
    ] == []


def test_files_read_in_one_sitting() -> None:
    lengths = {
        relative(path): len(path.read_text().splitlines())
        for path in sources("etl", "jobs", "benchmarks", "tests")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_no_test_patches_a_constant_of_ours() -> None:
    """Times and sizes are arguments; those of other packages are not ours."""
    patch = re.compile(
        r'setattr\((?!zipfile|\s*"moto\.)[^()]*?\b_?[A-Z][A-Z0-9_]+"|^ +(?!ImageFile)\w+\.[A-Z][A-Z0-9_]+ = ',
        re.MULTILINE,
    )
    found = {relative(p): match[0] for p in sources("tests") if (match := patch.search(p.read_text()))}
    assert found == {}


def test_no_name_is_there_for_tests_alone() -> None:
    texts = (path.read_text() for path in sources("etl", "jobs", "benchmarks", "docs"))
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    defined = (node for path in sources("etl", "benchmarks") for node in ast.parse(path.read_text()).body)
    named = [node for node in defined if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    by_click = {node.name for node in named if "command" in "".join(map(ast.unparse, node.decorator_list))}
    found = {node.name for node in named if words[node.name] == 1} - by_click
    assert found == {"dask_setup", "__dir__"}  # Dask and Python call these


def docstrings(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in nodes_of(path):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and (text := ast.get_docstring(node)):
            yield node, text


def test_docstrings_say_what_a_thing_is_or_does() -> None:
    found = [
        f"{relative(path)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for path in sources("etl", "jobs", "benchmarks", "tests")
        for node, text in docstrings(path)
        if text.split()[0] in NO_FIRST_WORDS
    ]
    assert found == []


def test_no_text_has_a_banned_phrase() -> None:
    texts = [path for folder in ("docs", "conf", "deploy") for path in (ROOT / folder).rglob("*.*")]
    texts += [*sources("etl", "jobs", "benchmarks", "tests"), *ROOT.glob("*.md")]
    found = [
        f"{relative(path)}:{number}: {match[0]}"
        for path in texts
        if path.is_file() and path.suffix in (".py", ".md", ".yaml") and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in BANNED.finditer(line)
    ]
    assert found == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    # Spelled in pieces, so that this file passes its own test.
    folders = [f"/{name}/" for name in ("work", "root", "tmp")]
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("conda", "anaconda"))]
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{relative(path)}: {word}" for word in folders + hosts if word in text]
    assert found == []


def test_contributing_names_what_is_there() -> None:
    named = re.findall(
        r"`((?:etl|jobs|benchmarks|conf|deploy|tests)/[^`* ]*)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_long_tests_are_marked_in_their_file_or_their_folders_conftest() -> None:
    """`make test-slow` imports no other files: see tests/conftest.py."""
    mark = ".".join(("mark", "campaign"))
    marked = [path for path in sources("tests") if mark in path.read_text()]
    assert marked
    assert [relative(p) for p in marked if not p.name.startswith("test_") and p.name != "conftest.py"] == []
    assert mark not in (ROOT / "tests" / "conftest.py").read_text()

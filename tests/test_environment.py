"""pyproject.toml, environment.yml, requirements.lock and the imports of the code agree."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text()

BENCHMARK = "benchmarks"
# conda-forge names that differ. Its `dask` is a bundle of packages, its `duckdb` is the program.
CONDA_NAMES = {"dask": "dask-core", "duckdb": "python-duckdb", "opencv-python-headless": "py-opencv"}
CONDA_NAMES |= {"torch": "pytorch"}
# Distributions whose name differs from the imported module.
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python-headless"}
# Dependencies that etl/ and jobs/ never import by name.
LOADED_BY_NAME = {
    "s3fs",  # fsspec's filesystem for s3://
    "cryptography",  # distributed makes temporary certificates with it
    "onnxscript",  # PyTorch's exporter
}


def lower_bounds(specs: list[str]) -> dict[str, str]:
    """Return lower bounds of `name>=version` specs by name; fail for a spec of another form."""
    bounds = {}
    for spec in specs:
        requirement = Requirement(spec)
        if requirement.name == PROJECT["name"]:
            continue  # another extra
        (specifier,) = requirement.specifier
        assert specifier.operator == ">=", spec
        assert (requirement.extras, requirement.marker, requirement.url) == (set(), None, None), spec
        assert requirement.name == canonicalize_name(requirement.name), spec
        assert requirement.name not in bounds, spec
        bounds[requirement.name] = str(Version(specifier.version))
    return bounds


READER = lower_bounds(PROJECT["dependencies"])
S3 = lower_bounds(EXTRAS["s3"])
BUILD = lower_bounds(EXTRAS["build"])
RUNTIME = READER | S3 | BUILD
TEST = lower_bounds(EXTRAS["test"])
BENCH = lower_bounds(EXTRAS["bench"])
DEV = lower_bounds(EXTRAS["dev"])
DERIVE = lower_bounds(EXTRAS["derive"])
LEARN = lower_bounds(EXTRAS["learn"])
CLUSTERS = lower_bounds(EXTRAS["slurm"]) | lower_bounds(EXTRAS["kubernetes"])


def conda_bounds(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the `name>=version` specs of an environment.yml and its pip lines; fail for anything else."""
    environment = yaml.safe_load(text)
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    assert set(pip) == {"pip"}
    assert conda.pop(1) == "pip"
    bounds = {}
    for spec in conda:
        match = re.fullmatch(r"([a-z0-9][a-z0-9-]*)>=([0-9]+(?:\.[0-9]+)*)", spec)
        assert match, f"not of the form name>=version: {spec!r}"
        assert match[1] not in bounds, spec
        bounds[match[1]] = match[2]
    return bounds, pip["pip"]


def locked() -> list[tuple[str, Version, Marker | None, list[str]]]:
    """Return name, version, marker and hashes of every pin in the lock; fail for any other line."""
    pins = []
    for block in re.split(r"\n(?=[^ #])", re.sub(r"(?m)^ *#.*\n", "", LOCK).strip()):
        first, *rest = block.replace(" \\\n", "\n").split("\n")
        requirement = Requirement(first)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", first
        assert (requirement.extras, requirement.url) == (set(), None), first
        hashes = [line.strip() for line in rest]
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), block
        pins.append((requirement.name, Version(specifier.version), requirement.marker, hashes))
    return pins


@functools.cache
def imported_modules(*folders: str) -> dict[str, str]:
    """Return, by top-level third-party module, a file that imports it."""
    found: dict[str, str] = {}
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for top in (
                {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"etl", "benchmarks"}
            ):
                found.setdefault(top, str(path.relative_to(ROOT)))
    return found


def test_a_requirement_stands_in_one_list_only() -> None:
    assert len(RUNTIME) == len(READER) + len(S3) + len(BUILD)
    assert not set(CLUSTERS) & {*RUNTIME, *TEST, *DEV}
    assert not set(RUNTIME) & set(TEST)
    assert not set(RUNTIME) & set(DEV)
    assert not set(TEST) & set(DEV)
    assert not set(BENCH) & {*RUNTIME, *TEST, *DEV}


def test_conda_environment_equals_pyproject() -> None:
    everything = {**RUNTIME, **CLUSTERS, **DERIVE, **LEARN, **TEST, **BENCH, **DEV}
    expected = {CONDA_NAMES.get(name, name): bound for name, bound in everything.items()}
    expected["python"] = PROJECT["requires-python"].removeprefix(">=")
    bounds, pip = conda_bounds((ROOT / "environment.yml").read_text())
    assert bounds == expected
    assert pip == ["-e ."]


@pytest.mark.parametrize(
    "spec", ["numpy", "numpy=2.2", "numpy >=2.2", "numpy>=2.2,<3", "conda-forge::numpy>=2"]
)
def test_loose_conda_specs_are_refused(spec: str) -> None:
    text = f"name: {PROJECT['name']}\nchannels: [conda-forge]\n"
    text += f"dependencies: ['python>=3.11', pip, '{spec}', {{pip: ['-e .']}}]"
    with pytest.raises(AssertionError, match="not of the form"):
        conda_bounds(text)


def test_every_import_is_declared() -> None:
    undeclared = {
        f"{module} (in {where})"
        for module, where in imported_modules("etl", "jobs").items()
        if DISTRIBUTIONS.get(module, canonicalize_name(module)) not in {**RUNTIME, **DERIVE, **LEARN}
    }
    assert not undeclared, "imported in etl/ or jobs/ and no dependency in pyproject.toml"


def test_peers_are_imported_by_the_benchmark_alone() -> None:
    used = {
        DISTRIBUTIONS.get(module, canonicalize_name(module)) for module in imported_modules(BENCHMARK)
    } - set(RUNTIME)
    # The tests of resampling use SimpleITK, too; parts about training need PyTorch.
    assert used - {"simpleitk", *LEARN} == set(BENCH)


def test_every_dependency_is_used() -> None:
    modules = imported_modules("etl", "jobs")
    used = {DISTRIBUTIONS.get(module, canonicalize_name(module)) for module in modules}
    assert not {*RUNTIME, *DERIVE, *LEARN} - used - LOADED_BY_NAME, (
        "dependencies that nothing in etl/ or jobs/ imports"
    )


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_lock_pins_every_requirement_once_at_its_bound_or_above(python: str) -> None:
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
    }
    active: dict[str, list[Version]] = {}
    for name, version, marker, _ in locked():
        if marker is None or marker.evaluate(environment):
            active.setdefault(name, []).append(version)
    assert {name: versions for name, versions in active.items() if len(versions) > 1} == {}
    for name, bound in {**RUNTIME, **CLUSTERS, **DERIVE, **TEST, **BENCH, **DEV}.items():
        assert name in active, f"{name} is not in requirements.lock: make lock"
        assert active[name][0] >= Version(bound), f"{name} is locked below its bound: make lock"


def test_lock_is_hashed() -> None:
    assert [name for name, _, _, hashes in locked() if not hashes] == []


def test_lock_names_no_index_host_or_path() -> None:
    # Every address and path contains one of these.
    assert not re.search(r"/|\\(?!\n)|--(?!hash=)|@", LOCK)


@pytest.mark.parametrize("name", [*RUNTIME, *DERIVE, *TEST])
def test_installed_version_meets_the_bound(name: str) -> None:
    assert Version(installed_version(name)) >= Version({**RUNTIME, **DERIVE, **TEST}[name])


def test_build_requirement_is_locked_for_building_without_isolation() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert lower_bounds(build).items() <= DEV.items()

"""The import rules that keep the parts apart, and the sizes that keep them readable."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "powerd"

# The core is a function of its arguments: it reads no clock, file, socket or chance, and writes no log.
NOT_PURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "selectors",
    "shutil",
}
NOT_PURE |= {"signal", "socket", "subprocess", "sys", "tempfile", "threading", "time"}
CORE_LINES = 220
OTHER_LINES = 400


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield what a module imports anywhere, functions and type checking included, as absolute names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def names(module: str) -> frozenset[str]:
    """Return every name that a module imports."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported_names(ast.parse(path.read_text(encoding="utf-8")), package))


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules that a module imports: ours by their full name, others by their first part."""
    return frozenset(
        name.partition(".")[0]
        if name.partition(".")[0] != "powerd"
        else name
        if name in MODULES
        else name.rpartition(".")[0]
        for name in names(module)
    )


def reachable(*starts: str) -> set[str]:
    """Return everything that is loaded when these modules are, packages above them included."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if module in MODULES:
            waiting += [*imports(module), *filter(None, [module.rpartition(".")[0]])]
    return seen


def inside(package: str) -> list[str]:
    return [module for module in MODULES if module == package or module.startswith(f"{package}.")]


def importers(target: str) -> set[str]:
    return {module for module in MODULES if target in imports(module)}


def foreign(modules: set[str]) -> set[str]:
    """Return those that are neither ours nor the standard library's."""
    return {name for name in modules if name.partition(".")[0] not in {"powerd", *sys.stdlib_module_names}}


def test_the_rules_below_see_every_form_of_import() -> None:
    source = "import a.b\nfrom . import c\nfrom ..d import e\ndef f():\n    from g import h\n"
    assert set(imported_names(ast.parse(source), "powerd.web")) == {
        "a.b",
        "powerd.web.c",
        "powerd.d.e",
        "g.h",
    }
    assert len(inside("powerd.core")) > 5


@pytest.mark.parametrize("module", inside("powerd.core"))
def test_the_core_is_pure(module: str) -> None:
    """Anything that decides about watts can be tested with plain values, and replayed."""
    own = {name for name in imports(module) if name.startswith("powerd")}
    assert own <= {"powerd", *inside("powerd.core")}
    assert imports(module) - own <= sys.stdlib_module_names - NOT_PURE


def test_one_module_each_knows_the_bindings_of_the_driver_and_the_bus() -> None:
    assert importers("pynvml") <= {"powerd.guard.nvml"}
    assert importers("aiomqtt") <= {"powerd.signals.mqtt"}


def test_the_privileged_process_loads_the_standard_library_and_pynvml_only() -> None:
    """What may write limits must be small enough to be read: every library in it could write them too."""
    guard = [module for module in inside("powerd.guard") if module != "powerd.guard.client"]
    assert foreign(reachable(*guard)) <= {"pynvml"}


def test_the_network_side_cannot_reach_the_driver() -> None:
    for package in ("powerd.signals", "powerd.web"):
        assert not {"pynvml", "powerd.guard.nvml", "powerd.guard.server"} & reachable(*inside(package)), (
            package
        )


def test_the_page_and_the_api_read_snapshots_and_know_no_controller() -> None:
    builders = {"powerd.daemon.controller", "powerd.daemon.app"}
    assert not builders & reachable(*inside("powerd.web"))


def test_one_module_builds_the_daemon() -> None:
    controller = "powerd.daemon.controller.Controller"
    assert {module for module in MODULES if controller in names(module)} <= {"powerd.daemon.app"}


def test_no_two_modules_import_each_other_even_through_others() -> None:
    """Data goes one way, from signals to limits to reports; a cycle would be a call backwards."""
    for module in MODULES:
        ours = [name for name in imports(module) if name in MODULES and name not in module]
        assert not [name for name in ours if module in _reachable_by_import(name)], module


def _reachable_by_import(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += [name for name in imports(module) if name in MODULES]
    return seen


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_short_enough_to_read_in_one_go(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= (CORE_LINES if module.startswith("powerd.core") else OTHER_LINES)


def test_tests_and_benchmarks_stay_short_too() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > OTHER_LINES
    }
    assert long == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_named_like_one_of_the_standard_library(module: str) -> None:
    """A script run from within the package would import ours instead."""
    own = module.rpartition(".")[2]
    assert own not in sys.stdlib_module_names or own == "__main__"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))

"""What is in the wheel and in the source distribution: `make dist`, which builds the one from the other."""

import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# What is read at run time, and is no module.
READ_BY_THE_PROGRAM = ("powerd/web/page", "powerd/simulator/data", "powerd/study/data")


def files(directory: str) -> set[str]:
    below = (path for path in (ROOT / directory).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)) for path in below}


def wheel() -> set[str]:
    [path] = (ROOT / "dist").glob("powerd-*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def source() -> set[str]:
    [path] = (ROOT / "dist").glob("powerd-*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_the_wheel_has_every_module_and_all_that_they_read() -> None:
    assert files("powerd") <= wheel()
    for directory in READ_BY_THE_PROGRAM:
        assert files(directory), directory


def test_the_wheel_has_configurations_and_units_and_no_tests() -> None:
    share = {name.partition("/data/share/powerd/")[2] for name in wheel()}
    assert {"config/powerd.toml", "config/minimal.toml", "config/openadr.toml"} <= share
    assert files("systemd") <= share
    assert not [name for name in wheel() if name.startswith(("tests/", "benchmarks/", "packaging/"))]


def test_all_that_make_needs_is_in_the_source() -> None:
    directories = (".ci", "benchmarks", "config", "docs", "packaging", "powerd", "systemd", "tests")
    assert set().union(*map(files, directories)) <= source()
    assert {"Makefile", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} <= source()

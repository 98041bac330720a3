"""An audit that could not ask anybody never looks like one that found nothing."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOP = Path(__file__).parent.parent.parent
UNKNOWN = {"name": "aiohttp", "skip_reason": "Dependency not found on PyPI and could not be audited"}
CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
VULNERABLE = {
    "name": "aiohttp",
    "version": "3.14.5",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.14.6"], "aliases": [], "description": "long"}],
}
OURSELVES = {"name": "powerd", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", TOP / ".ci" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(*packages: Mapping[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages)}


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ({"osv": said(CLEAN, OURSELVES)}, 0, "1 packages, none with a known vulnerability"),
        ({"osv": None}, 3, "NOTHING WAS AUDITED: the advisories could not be had (osv cannot be reached)"),
        ({"osv": None, "pypi": said(UNKNOWN)}, 3, "NOTHING WAS AUDITED"),
        ({"osv": said()}, 3, "NOTHING WAS AUDITED"),
        (
            {"osv": None, "pypi": said(UNKNOWN, CLEAN | {"name": "yarl"})},
            3,
            "1 of 2 packages WERE NOT AUDITED",
        ),
        ({"osv": None, "pypi": said(CLEAN)}, 0, "none with a known vulnerability"),
        ({"osv": said(UNKNOWN), "pypi": said(CLEAN)}, 0, "none with a known vulnerability"),
        ({"osv": said(VULNERABLE)}, 1, "VULNERABLE: aiohttp 3.14.5: PYSEC-1, fixed in 3.14.6"),
        ({"osv": None, "pypi": said(UNKNOWN | {"name": "yarl"}, VULNERABLE)}, 1, "VULNERABLE"),
    ],
    ids=range(9),
)
def test_what_was_not_looked_up_is_not_called_clean(
    audit: ModuleType, answers: dict[str, Any], code: int, words: str
) -> None:
    found, lines = audit.judge(answers)
    assert (found, len(lines)) == (code, 1)
    assert words in lines[0]


@pytest.mark.parametrize(("option", "code"), [((), 3), (("--unless-offline",), 0)])
def test_where_nobody_can_be_asked_a_person_fails_and_a_pipeline_is_told(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setattr(audit, "ask", lambda _service, _directory: None)
    assert audit.main([*option, "anywhere"]) == code
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out


def test_what_is_vulnerable_fails_the_pipeline_too(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ask", lambda _service, _directory: said(VULNERABLE))
    assert audit.main(["--unless-offline", "anywhere"]) == 1


def test_the_pipeline_audits_first_and_ends_with_the_tests() -> None:
    """The last lines tell how a run went: those have to be the tests'."""
    lines = [line for line in (TOP / ".ci" / "run").read_text(encoding="utf-8").splitlines() if line]
    commands = [line for line in lines if line.startswith(("make", "exec"))]
    assert commands == ["make audit-ci", "exec make test"]

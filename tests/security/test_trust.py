"""What `powerctl doctor`, `check-config` and the configuration tell of keys and secrets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.check import check, render
from powerd.ctl.doctor.check import Check, Verdict
from powerd.ctl.doctor.trust import trust
from powerd.daemon.ears import named_senders
from powerd.errors import ConfigError
from powerd.settings.loading import load
from powerd.settings.model import Settings
from powerd.signals.topics import DEFAULT_PREFIX, Topics
from powerd.signatures.rack_secret import RackSecret
from tests.daemon.host import to_toml
from tests.dsx.keys import private_pem, public_pem, written
from tests.security import forge
from tests.signals.budgets import GOOD
from tests.signals.states import STATE, payload

HOSTS = ("h1", "h2", "h3")
TOPICS = Topics(DEFAULT_PREFIX, "hel1", "r12", "h1")
PLAIN_BUDGET = json.dumps(GOOD).encode()


def settings(directory: Path, native: dict[str, Any] | None = None, key_file: str = "") -> Settings:
    """Return the configuration of a rack of three.

    Raises:
        ConfigError: it cannot be used.
    """
    hosts = {name: {"share": 1.0, "floor_watts": 1000} for name in HOSTS}
    limits = {"hard_limit_watts": 40000, "failsafe_watts": 20000}
    tables: dict[str, dict[str, Any]] = {
        "host": {"site": "hel1", "rack": "r12", "name": "h1"},
        "rack": {**limits, "hosts": hosts, "leases": {"key_file": key_file}},
        "mqtt": {"url": "mqtt://127.0.0.1:1"},
        "signals": {"native": native or {}},
    }
    path = directory / "powerd.toml"
    path.write_text(to_toml(tables), encoding="utf-8")
    path.chmod(0o600)
    return load(path, {}, {}).settings


def found(of: Settings, kept: dict[str, bytes]) -> dict[str, Check]:
    return {check.name: check for check in trust(of, TOPICS, kept)}


def sealed(name: str, *secrets: bytes) -> bytes:
    return RackSecret(secrets).sealed(TOPICS.state_of(name), payload(replace(STATE, host=name)))


def test_without_keys_the_access_list_is_all_there_is_and_that_is_said(tmp_path: Path) -> None:
    checks = found(settings(tmp_path), {TOPICS.budget: PLAIN_BUDGET})
    assert [check.verdict for check in checks.values()] == [Verdict.NOT_CHECKED, Verdict.NOT_CHECKED]
    assert TOPICS.budget in checks["broker.budgets"].text
    assert TOPICS.states in checks["broker.states"].text


@pytest.mark.parametrize(
    ("kept", "unsigned", "verdict"),
    [
        (forge.signed(PLAIN_BUDGET).encode(), None, Verdict.OK),
        (b"", None, Verdict.OK),
        (PLAIN_BUDGET, None, Verdict.WARNING),
        (forge.signed(PLAIN_BUDGET).encode(), "accept", Verdict.WARNING),
        (forge.signed(PLAIN_BUDGET, forge.OWN_KEY).encode(), None, Verdict.FAILED),
        (forge.signed(PLAIN_BUDGET, kid="new").encode(), None, Verdict.FAILED),
    ],
)
def test_the_budget_that_the_broker_keeps_is_looked_at(
    kept: bytes, unsigned: str | None, verdict: Verdict, tmp_path: Path
) -> None:
    native = {"keys": forge.configured_keys(tmp_path), "unsigned": unsigned}
    native = {key: value for key, value in native.items() if value is not None}
    check = found(settings(tmp_path, native), {TOPICS.budget: kept})["broker.budgets"]
    assert check.verdict is verdict
    assert (verdict is Verdict.OK) != bool(check.fix)


def test_hosts_without_the_secret_of_the_rack_are_named(tmp_path: Path) -> None:
    file = written(tmp_path / "secret", forge.SECRET + b"\n" + forge.RETIRED_SECRET)
    of = settings(tmp_path, key_file=file)
    secrets = {"h1": forge.SECRET, "h2": forge.RETIRED_SECRET}
    ours = {TOPICS.state_of(name): sealed(name, secret) for name, secret in secrets.items()}
    assert found(of, ours)["broker.states"] == Check(
        "broker.states", Verdict.OK, "the states of 2 hosts are sealed with the secret of this rack"
    )
    check = found(of, {**ours, TOPICS.state_of("h3"): sealed("h3")})["broker.states"]
    assert check.verdict is Verdict.FAILED
    assert check.text.startswith('h3: the state has no "mac"')


# The configuration


def test_with_a_key_what_is_not_signed_may_only_lower_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    keys = forge.configured_keys(tmp_path)
    assert settings(tmp_path).signals.native.unsigned_may == "accept"
    assert settings(tmp_path, {"keys": keys}).signals.native.unsigned_may == "lower_only"
    for said in ("accept", "lower_only", "refuse"):
        assert settings(tmp_path, {"keys": keys, "unsigned": said}).signals.native.unsigned_may == said


def test_check_config_says_whose_word_raises_limits(tmp_path: Path) -> None:
    def shown(native: dict[str, Any] | None = None, key_file: str = "") -> list[str]:
        settings(tmp_path, native, key_file)
        lines = render(check(tmp_path / "powerd.toml")).splitlines()
        at = lines.index("Whose word raises limits")
        return [line.split(maxsplit=1)[1].strip() for line in lines[at + 1 : at + 3]]

    keys = forge.configured_keys(tmp_path)
    file = written(tmp_path / "secret", forge.SECRET)
    assert all(line.endswith("whoever the broker lets write") for line in shown())
    budgets, states = shown({"keys": keys}, file)
    assert budgets == "signed by facility-a, facility-b; what is not signed may only lower"
    assert states.endswith("sealed with the rack's secret")
    assert shown({"keys": keys, "unsigned": "refuse"})[0].endswith("what is not signed is refused")
    assert shown({"keys": keys, "unsigned": "accept"})[0].endswith("what is not signed counts")


def test_who_has_a_key_is_counted_by_name(tmp_path: Path) -> None:
    of = settings(tmp_path, {"keys": forge.configured_keys(tmp_path)})
    assert {forge.SOURCE, forge.OTHER_SOURCE} <= named_senders(of)


@pytest.mark.parametrize("unsigned", ["lower_only", "refuse"])
def test_nobody_can_be_asked_for_signatures_that_nobody_can_make(unsigned: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody could raise a limit"):
        settings(tmp_path, {"unsigned": unsigned})


def test_a_key_of_somebody_who_is_not_listened_to_is_a_mistake(tmp_path: Path) -> None:
    keys = forge.configured_keys(tmp_path)
    with pytest.raises(ConfigError, match=f'{forge.OTHER_KID}: its source "facility-b" is not in'):
        settings(tmp_path, {"keys": keys, "sources": [forge.SOURCE]})


def test_files_that_cannot_be_used_are_named_with_their_key(tmp_path: Path) -> None:
    private = written(tmp_path / "private.pem", private_pem(forge.KEY))
    keys = {"k1": {"file": private, "source": "a"}, "k2": {"file": str(tmp_path / "none"), "source": "b"}}
    short = written(tmp_path / "short", b"too short\n")
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, {"keys": keys}, short)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "rack.leases.key_file",
        "signals.native.keys.k1",
        "signals.native.keys.k2",
    ]
    assert "too short" not in str(caught.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "secret", forge.SECRET, 0o640)
    with pytest.raises(ConfigError, match=r"rack\.leases\.key_file: .*chmod 0600"):
        settings(tmp_path, key_file=file)


def test_a_certificate_is_no_key(tmp_path: Path) -> None:
    raw = public_pem(forge.KEY).replace(b"PUBLIC KEY", b"CERTIFICATE")
    keys = {"k1": {"file": written(tmp_path / "cert.pem", raw, 0o644), "source": "a"}}
    with pytest.raises(ConfigError, match=r"signals\.native\.keys\.k1: .*holds no key"):
        settings(tmp_path, {"keys": keys})

"""docs/brokers.md says what the arithmetic gives, and what the access lists are made of."""

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.brokers.hall import HALL_RACKS, of_hosts, table
from tests.brokers.packaged import FILES

TEXT = (FILES.parent.parent / "docs" / "brokers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def access() -> ModuleType:
    spec = importlib.util.spec_from_file_location("powerd_access", FILES / "access.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["powerd_access"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("line", table())
def test_the_table_of_a_hall_is_what_the_arithmetic_gives(line: str) -> None:
    assert line in TEXT.splitlines()


def test_one_broker_for_all_is_what_the_measured_figures_make_of_it() -> None:
    load = of_hosts(HALL_RACKS)
    messages = load.sent[0] + load.states[0]
    assert f"would have {messages:,} messages a second" in TEXT
    assert "| CPU per 1,000 messages in and out, at most | 11 ms | 36 ms |" in TEXT
    mosquitto, nats = (messages / 1000 * cpu_ms / 1000 for cpu_ms in (11, 36))
    assert f"{mosquitto:.1f} cores of Mosquitto" in TEXT
    assert f"{nats:.1f} of NATS" in TEXT


def test_the_roles_are_those_that_access_lists_are_made_of(access: ModuleType) -> None:
    for name, role in access.ROLES.items():
        assert f"| `{name}` | {_cell(role.publishes)} | {_cell(role.hears)} |" in TEXT.splitlines(), name


@pytest.mark.parametrize("line", ["host r17-n1", "facility", "facility f r17", "king k", "host", "row row-4"])
def test_a_participant_that_is_not_clear_is_refused(access: ModuleType, line: str) -> None:
    with pytest.raises(ValueError, match="is not like"):
        access.rights([line], "hel1")


def test_who_has_two_roles_has_the_rights_of_both(access: ModuleType) -> None:
    own = access.rights(["grid vtn1", "", "# with budgets", "facility vtn1"], "hel1")["vtn1"]
    assert {"powerd/v1/hel1/grid/event/+", "powerd/v1/hel1/rack/+/budget"} <= set(own.publishes)
    assert len(set(own.publishes)) == len(own.publishes)


def _cell(filters: tuple[str, ...]) -> str:
    """Return filters as the document has them: below the site, but for those of DSX Flex."""
    return " ".join(f"`{each.removeprefix('{base}/')}`" for each in filters) or "-"

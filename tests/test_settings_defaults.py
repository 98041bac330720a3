"""A rack that configures nothing runs with what the parts of powerd are tested with by themselves."""

from dataclasses import MISSING, fields

import pytest

from powerd.core.dsx.breach import BreachRules
from powerd.core.events.schedule import EventRules
from powerd.core.leases.leases import LeaseRules
from powerd.core.metering.meter import MeterRules
from powerd.dsx.agent import AgentOptions
from powerd.dsx.listener import ListenOptions
from powerd.meters.options import DsxOptions, DsxPart, GenericPart, NativePart
from powerd.openadr.options import BridgeOptions, BudgetOptions, Program, ReportOptions, VtnOptions
from powerd.openadr.settings import (
    BudgetSettings,
    ProgramSettings,
    ReportSettings,
    VtnSettings,
)
from powerd.settings import signals
from powerd.settings.tables import LeaseSettings, MqttSettings, Table
from powerd.signals.endpoint import BusOptions

PAIRS: list[tuple[type[Table], type]] = [
    (LeaseSettings, LeaseRules),
    (MqttSettings, BusOptions),
    (signals.EventSettings, EventRules),
    (signals.MeterSettings, MeterRules),
    (signals.MeterPartSettings, NativePart),
    (signals.MeterPartSettings, DsxPart),
    (signals.MeterPartSettings, GenericPart),
    (signals.DsxBmsSettings, DsxOptions),
    (signals.DsxSettings, AgentOptions),
    (signals.DsxSettings, ListenOptions),
    (signals.BreachSettings, BreachRules),
    (VtnSettings, VtnOptions),
    (VtnSettings, BridgeOptions),
    (ProgramSettings, Program),
    (ReportSettings, ReportOptions),
    (BudgetSettings, BudgetOptions),
]
# Of the same name, but of another form in the file.
OTHER_FORM = {
    (signals.MeterSettings, "parts"),
    (signals.DsxSettings, "breach"),
    (ProgramSettings, "event_class"),
}
OTHER_FORM |= {(ProgramSettings, "price_kind")}


def defaults(record: type) -> dict[str, object]:
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(record)
        if (field.default, field.default_factory) != (MISSING, MISSING)
    }


@pytest.mark.parametrize(("table", "record"), PAIRS)
def test_a_key_has_the_default_of_what_it_sets(table: type[Table], record: type) -> None:
    of_keys = {name: key.get_default(call_default_factory=True) for name, key in table.model_fields.items()}
    shared = {
        name: default
        for name, default in defaults(record).items()
        if name in of_keys and (table, name) not in OTHER_FORM
    }
    assert shared
    assert {name: of_keys[name] for name in shared} == shared

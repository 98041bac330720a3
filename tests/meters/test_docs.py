"""The page for integrators, tried as one would: its configuration, and its commands on a real broker."""

import asyncio
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.core.metering.meter import total_mw
from powerd.core.model import Now
from powerd.meters.options import DsxPart, GenericPart, NativePart, Part
from tests.broker import Mosquitto
from tests.meters.ears import TOPICS, Ears
from tests.signals.stubs import Observed, options, until

# Of the rack of the tests.
PAGE = (Path(__file__).parents[2] / "docs" / "meters.md").read_text("utf-8").replace("r17", TOPICS.rack)
KINDS: dict[str, Callable[..., Part]] = {
    "native": NativePart,
    "dsx-bms": DsxPart,
    "generic": GenericPart,
}
# By heading: the configuration, the commands, and the power that comes of them.
SECTIONS = {
    heading: (toml, commands, float(watts))
    for heading, toml, commands, watts in re.findall(
        r"^## ([^\n]+)\n(?:(?!^## ).)*?```toml\n(.*?)```(?:(?!^## ).)*?```sh\n(.*?)# ([\d.]+) W\n```",
        PAGE,
        re.DOTALL | re.MULTILINE,
    )
}


class OnTime(Ears):
    """Ears on the clock of this machine, which is what the commands take their stamps from."""

    def now(self) -> Now:
        return SystemClock(assume_synced=True).now()

    def power_watts(self) -> float | None:
        """Return the power; readings count longer here, since a busy machine takes its time."""
        rules = replace(self.rules, fresh_s=60.0)
        mw = total_mw(self.meter, rules, self.now().boot_s)
        return None if mw is None else mw / 1000


def parts(toml: str) -> list[Part]:
    tables = tomllib.loads(toml)["signals"]["meters"]["parts"]
    made = []
    for name, table in tables.items():
        keys = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        adapter = str(keys.pop("adapter"))
        made.append(KINDS[adapter](name, **keys))
    return made


def test_all_ways_are_documented() -> None:
    assert list(SECTIONS) == ["Native", "DSX BMS", "Generic: a plain number", "Generic: JSON"]


def test_every_configuration_of_the_page_can_be_used() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    assert all(parts(block) for block in blocks)


def test_two_feeds_of_a_building_management_system_are_six_lines() -> None:
    assert len(SECTIONS["DSX BMS"][0].splitlines()) == 6


@pytest.mark.parametrize("heading", SECTIONS)
async def test_the_commands_do_what_the_page_says(heading: str, tmp_path: Path) -> None:
    toml, commands, watts = SECTIONS[heading]
    ears = OnTime(*parts(toml))
    with Mosquitto(tmp_path / "broker") as broker:
        async with Observed(
            options(broker.url), on_message=ears.listener.on_message, subscriptions=ears.listener.filters
        ) as host:
            await host.connected()
            here = commands.replace("mosquitto_pub", f"mosquitto_pub -p {broker.port}")
            shell = await asyncio.create_subprocess_exec("bash", "-euc", here)
            await until(lambda: ears.power_watts() == watts)
            assert await shell.wait() == 0
    assert (ears.refusals, ears.notices) == ([], [])

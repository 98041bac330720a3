"""What an operator writes: configuration of daemon, guard and bridge, variables, and data files."""

from typing import Any

from powerd.check import check, render
from powerd.errors import ConfigError
from powerd.guard import config as guard_config
from powerd.guard.driver import DriverError
from powerd.openadr import settings as bridge_settings
from powerd.settings.effective import as_toml
from powerd.settings.loading import Loaded, load
from powerd.settings.rules import rack
from powerd.simulator.faults import FaultFile
from powerd.study.curves import Tables, board_and_curves, smoothed
from powerd.study.dataset import Dataset
from tests.fuzz.oracle import accepted, check_finite, check_lines
from tests.fuzz.place import written

# A line may name every key that is known in its table.
_LINE_CHARACTERS = 6000
_BASE = b"""
[host]
site = "hel1"
rack = "r17"
name = "r17-n1"
[rack]
hard_limit_watts = 4000
failsafe_watts = 2400
[rack.hosts]
r17-n1 = { share = 1.0, floor_watts = 1000 }
[mqtt]
url = "mqtt://localhost"
"""


def settings(data: bytes) -> None:
    """What loads is finite and feasible, reads the same to the guard, and loads again as it is shown."""
    with written("powerd.toml", data) as path:
        loaded = accepted(lambda: load(path), ConfigError, _LINE_CHARACTERS)
        guard = accepted(lambda: guard_config.load(path, {}), ConfigError, _LINE_CHARACTERS)
        report = check(path)
        check_lines("\n".join(report.problems) or "-", _LINE_CHARACTERS)
        check_lines(render(report), 2 * _LINE_CHARACTERS)
        assert report.ok == (loaded is not None)
    if loaded is not None:
        assert guard == (loaded.settings.gpu, loaded.settings.guard)
        check_settings(loaded)


def check_settings(loaded: Loaded) -> None:
    """Prove that settings can be decided by, and are shown as what they are."""
    tree = loaded.settings.model_dump()
    check_finite(tree)
    _check_watts(tree)
    record = rack(loaded.settings)
    assert 0 < record.floors_mw <= record.usable_mw(record.failsafe_mw)
    assert record.failsafe_mw <= record.hard_limit_mw
    with written("shown.toml", as_toml(loaded, origins=True).encode()) as path:
        assert load(path).settings == loaded.settings


def _check_watts(tree: dict[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _check_watts(value)
        elif name.endswith(("_watts", "_s")) and value is not None:
            assert value >= 0, f"{name} = {value}"


def environment(data: bytes) -> None:
    """Variables are settings or one line each that says why not. Each line is `NAME=value`."""
    lines = data.decode(errors="replace").replace("\0", "").split("\n")
    variables = dict(line.partition("=")[::2] for line in lines if "=" in line)
    with written("base.toml", _BASE) as path:
        loaded = accepted(lambda: load(path, environment=variables), ConfigError, _LINE_CHARACTERS)
        guard = accepted(lambda: guard_config.load(path, variables), ConfigError, _LINE_CHARACTERS)
        if loaded is not None:
            assert guard == (loaded.settings.gpu, loaded.settings.guard)
            check_finite(loaded.settings.model_dump())


def bridge(data: bytes) -> None:
    """What loads can be run by, and is finite."""
    with written("openadr.toml", data) as path:
        loaded = accepted(lambda: bridge_settings.load(path), ConfigError, _LINE_CHARACTERS)
    if loaded is not None:
        check_finite(loaded.model_dump())
        check_finite(bridge_settings.bridge_options(loaded))


def study_data(data: bytes) -> None:
    """Curves and traces are finite numbers in order; the same file is read as each kind of them."""
    with _dataset(data) as dataset:
        curves = accepted(dataset.curves, ConfigError, _LINE_CHARACTERS)
        for curve in curves or ():
            check_finite(smoothed(curve))
        if curves is not None:
            made = accepted(lambda: board_and_curves(dataset), ConfigError, _LINE_CHARACTERS)
            if made is not None:
                throughput = Tables(*made).throughput
                assert throughput.min() >= 0
                assert throughput.max() <= 1
        for read in (dataset.occupancy, dataset.service_rates, dataset.arrivals):
            series = accepted(read, ConfigError, _LINE_CHARACTERS)
            for each in (series or {}).values():
                check_finite(each)
                assert all(one < later for one, later in zip(each.times_s, each.times_s[1:], strict=False))


class _dataset:  # noqa: N801 - a context manager, like `written`
    """A directory in which every file of a data set has the same content."""

    def __init__(self, data: bytes) -> None:
        self._file = written("power_curves.csv", data)

    def __enter__(self) -> Dataset:
        path = self._file.__enter__()
        traces = path.parent / "traces"
        if not traces.exists():
            traces.mkdir()
            for name in ("gpu_occupancy", "llm_service_7d_rate", "llm_arrivals_1s"):
                (traces / f"{name}.csv").symlink_to(path)
        return Dataset(path.parent)

    def __exit__(self, *_: object) -> None:
        self._file.__exit__(None, None, None)


def simulated_faults(data: bytes) -> None:
    """The faults of simulated GPUs are read, or the driver says what is wrong with the file."""
    with written("faults.json", data) as path:
        accepted(lambda: FaultFile(str(path)).read(), DriverError, _LINE_CHARACTERS)

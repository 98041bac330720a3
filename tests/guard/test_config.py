"""The guard reads its two tables as strictly as the daemon does, without the daemon's libraries."""

from pathlib import Path

import pytest

from powerd.errors import ConfigError
from powerd.guard.config import GpuConfig, GpuOverride, GuardConfig, SimulatedGpus, load

BASE = """
[host]
site = "hel1"
[guard]
socket = "/run/test/guard.sock"
ceiling_watts = 450
[gpu]
driver = "simulated"
[gpu.overrides."GPU-1"]
floor_watts = 150
[gpu.simulated]
count = 4
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "powerd.toml"
    path.write_text(BASE)
    return path


def test_its_tables_are_read_and_others_are_left_to_the_daemon(file: Path) -> None:
    gpu, guard = load(file, {})
    assert gpu == GpuConfig(
        driver="simulated",
        overrides={"GPU-1": GpuOverride(floor_watts=150)},
        simulated=SimulatedGpus(count=4),
    )
    assert guard == GuardConfig(socket="/run/test/guard.sock", ceiling_watts=450)


def test_drop_ins_win_over_the_file_and_variables_over_both(file: Path) -> None:
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d" / "10-a.toml").write_text(
        "[guard]\nceiling_watts = 400\n[gpu.simulated]\nseed = 7\n"
    )
    (file.parent / "conf.d" / "20-b.toml").write_text("[guard]\nceiling_watts = 350.5\n")
    gpu, guard = load(file, {"POWERD_GPU__SIMULATED__COUNT": "2", "POWERD_GUARD__SPAWN": "true", "HOME": "/"})
    assert guard.ceiling_watts == 350.5
    assert (gpu.simulated.count, gpu.simulated.seed, guard.spawn) == (2, 7, True)
    assert load(file, {"POWERD_GUARD__CEILING_WATTS": "300"})[1].ceiling_watts == 300


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "powerd.toml"
    path.write_text("")
    assert load(path, {}) == (GpuConfig(), GuardConfig())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[guard]\nsoket = 'x'", r"powerd.toml:2: guard.soket: unknown key; known are call_deadline_s"),
        ("[gpu.simulated]\ncuont = 1", r"powerd.toml:2: gpu.simulated.cuont: unknown key"),
        ("[gpu.overrides.'GPU-1']\nflor = 1", r"gpu.overrides.GPU-1.flor: unknown key"),
        ("[guard]\nceiling_watts = '450'", r"guard.ceiling_watts: must be a number, not '450'"),
        ("[guard]\nceiling_watts = true", r"guard.ceiling_watts: must be a number, not True"),
        ("[gpu.simulated]\ncount = 1.5", r"gpu.simulated.count: must be a whole number"),
        ("[gpu.simulated]\ncount = true", r"gpu.simulated.count: must be a whole number"),
        ("[guard]\nspawn = 1", r"guard.spawn: must be true or false, not 1"),
        ("[guard]\nsocket = 1", r"guard.socket: must be a text, not 1"),
        ("[guard]\ncall_deadline_s = 0", r"powerd.toml:2: guard.call_deadline_s must be"),
        ("[guard]\ncall_deadline_s = nan", r"guard.call_deadline_s must be"),
        ("[guard]\ncall_deadline_s = inf", r"guard.call_deadline_s must be"),
        ("[gpu]\ndriver = 'amd'", r'powerd.toml:2: gpu.driver must be "nvml" or "simulated"'),
        ("[gpu]\noverrides = 3", r"gpu.overrides: must be a table"),
        ("guard = 3", r"guard: must be a table"),
        ("[guard", r"powerd.toml: not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "powerd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load(path, {})
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_variable_is_named_with_the_variable(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment POWERD_GUARD__CALL_DEADLINE_S: .* not 'soon'"):
        load(file, {"POWERD_GUARD__CALL_DEADLINE_S": "soon"})
    with pytest.raises(ConfigError, match=r"environment POWERD_GUARD__SOKET: guard.soket: unknown key"):
        load(file, {"POWERD_GUARD__SOKET": "x"})


def test_a_file_that_everyone_may_write_is_refused(file: Path) -> None:
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="everyone may write"):
        load(file, {})


def test_a_directory_that_everyone_may_write_is_refused_for_what_the_guard_remembers(
    file: Path, tmp_path: Path
) -> None:
    """Who may put a plan there says what the guard falls back to, and what a release puts back."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o1777)
    with pytest.raises(ConfigError, match=r"guard\.state_dir: .*/state: everyone may write to it"):
        load(file, {"POWERD_GUARD__STATE_DIR": str(tmp_path / "state")})


def test_a_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", {})

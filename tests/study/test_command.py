"""`powerd simulate` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from powerd.study.dataset import BUNDLED
from powerd.study.runner import Case, Change, run_part, total


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "powerd", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=80, check=False)


SHORT = ("--gpus", "8", "--hours", "0.02", "--seeds", "2")


def test_a_fresh_clone_prints_every_policy_side_by_side_with_its_own_data(tmp_path: Path) -> None:
    plot = tmp_path / "day.png"
    done = simulate(*SHORT, "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    title, head, *rows = done.stdout.splitlines()
    assert title == "helios:vc8Sj: 8 GPUs, budget 60%, 0.02 h, 2 seeds"
    assert head.split()[0] == "policy"
    policies = "powerd uniform proportional geopm slurm dynamo thunderbolt oracle hindsight"
    assert [row.split()[0] for row in rows] == policies.split()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_json_has_all_figures_and_the_case(tmp_path: Path) -> None:
    done = simulate(
        *SHORT, "--rack", "training+llm", "--policy", "uniform,oracle", "--step", "36:50%", "--json",
        "--data", str(BUNDLED),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["budget"] == [{"from_s": 0.0, "part": 0.6}, {"from_s": 36.0, "part": 0.5}]
    uniform, oracle = document["policies"]
    assert (uniform["policy"], oracle["policy"]) == ("uniform", "oracle")
    assert document["gap"] == pytest.approx(oracle["throughput"] - uniform["throughput"])


def test_racks_are_simulated_one_by_one_and_put_together_in_one_order_whichever_is_ready_first() -> None:
    done = simulate(
        "--gpus", "7", "--racks", "3", "--hours", "0.02", "--seeds", "1", "--policy", "uniform,powerd",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["racks"] == 3
    case = Case("helios:vc8Sj", 7, (Change(0.0, 0.6),), 0.02, racks=3)
    for row in document["policies"]:
        alone = total(row["policy"], 0, [run_part(case, row["policy"], 0, number) for number in range(3)])
        assert row["throughput"] == alone.throughput
        assert row["energy_kwh"] == alone.energy_kwh


def test_racks_and_policies_can_be_listed() -> None:
    racks = simulate("--rack", "list")
    assert "helios:VC" in racks.stdout
    assert "vcvlY" in racks.stdout
    assert simulate("--policy", "list").stdout.split()[0] == "powerd"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rack", "moon"), 'no rack of name "moon"'),
        (("--policy", "best"), "no policy of name best"),
        (("--budget", "much"), '--budget "much": give a percentage'),
        (("--step", "50%"), '--step "50%": give SECONDS:PERCENT'),
        (("--model", "H100"), 'no curve of "H100"; there are: '),
        (("--data", "/nowhere"), "/nowhere/power_curves.csv: no such file"),
        (("--seeds", "0"), "--seeds must be above 0"),
        (("--plot", "/nowhere/a.png"), "--plot /nowhere/a.png: there is no directory /nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    done = simulate(*SHORT, "--policy", "uniform", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("powerd: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_numpy_one_line_says_what_to_install() -> None:
    script = "import sys; sys.modules['numpy'] = None; from powerd.cli import main; main(['simulate'])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "powerd: powerd simulate needs numpy: pip install 'powerd[simulate]'\n"

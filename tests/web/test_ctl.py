"""The operator's hand: what it prints, and the exit codes that scripts rely on."""

import asyncio
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from powerd.core.model import Capability, GpuState
from powerd.snapshot import GuardStatus, Snapshot
from tests.powerctl import powerctl
from tests.web import host

if TYPE_CHECKING:
    from tests.web.conftest import Endpoint


@pytest.fixture
def healthy(snapshot: Snapshot) -> Snapshot:
    """Return a host with nothing to complain about."""
    good = tuple(
        reading
        for reading in snapshot.readings
        if reading.state is GpuState.OK and reading.capability is Capability.SETTABLE
    )
    return replace(snapshot, readings=good, problems=())


async def test_a_good_host_fits_one_screen_and_exits_0(endpoint: "Endpoint", healthy: Snapshot) -> None:
    endpoint.show(healthy)
    answer = await powerctl("status", "--url", endpoint.url)
    assert (answer.code, answer.err) == (0, "")
    assert "r17-n3  rack r17  site hel1  enforce   limited" in answer.out
    assert "facility-a 30,000 W, 41 s left" in answer.out
    assert re.search(r"^0 +H100 80GB HBM3 +300 W +400 W +400 W", answer.out, re.MULTILINE)
    assert len(answer.out.splitlines()) < 24
    assert max(map(len, answer.out.splitlines())) <= 120


async def test_a_bad_gpu_is_named_and_exits_1(endpoint: "Endpoint") -> None:
    answer = await powerctl("status", "--url", endpoint.url)
    assert answer.code == 1
    assert "! GPU 6 is hung" in answer.out


async def test_failsafe_exits_4_and_says_so(endpoint: "Endpoint", failsafe: Snapshot) -> None:
    endpoint.show(failsafe)
    answer = await powerctl("status", "--url", endpoint.url)
    assert answer.code == 4
    assert "! failsafe: lease over" in answer.out
    assert "no controller's budget is in force" in answer.out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"guard": GuardStatus("nothing answers on guard.sock")},
            "the guard cannot be used: nothing answers",
        ),
        ({"elapsed_s": -10.0}, "the control loop has stalled for 10 s"),
    ],
)
async def test_each_way_of_being_degraded_is_said(
    endpoint: "Endpoint", healthy: Snapshot, changes: dict[str, object], complaint: str
) -> None:
    endpoint.show(replace(healthy, **changes))  # type: ignore[arg-type] # by parameter
    answer = await powerctl("status", "--url", endpoint.url)
    assert answer.code == 1
    assert f"! {complaint}" in answer.out


async def test_infeasible_and_disconnected_are_degraded(endpoint: "Endpoint", healthy: Snapshot) -> None:
    short = healthy.decision._replace(infeasible_mw=1_200_000, compliant=False)
    bus = replace(healthy.bus, connected=False, error="Connection refused")
    endpoint.show(replace(healthy, decision=short, bus=bus))
    answer = await powerctl("status", "--url", endpoint.url)
    assert answer.code == 1
    assert "! the budget is 1200 W below the floors" in answer.out
    assert "! the broker is not connected: Connection refused" in answer.out


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (
            host.lending(),
            [
                "lends 650 W to r17-n1 (14 s)",
                "peers 2 of 3 live, r17-n2 silent for 9 s, r17-n4 has another [rack]",
            ],
        ),
        (
            host.borrowing(),
            [
                "borrows 600 W from r17-n1 (4 s)",
                "peers 1 of 3 live, r17-n2 never heard, r17-n4 never heard",
            ],
        ),
        (
            host.snapshot(host.decided([host.peer("r17-n1", -0.5, is_leasing=False)], memory=None)),
            [
                "no leases what was lent before the start is not known: at its floor for at least 5 s more",
                "peers 1 of 3 live, r17-n1 takes no part, r17-n2 never heard, r17-n4 never heard",
            ],
        ),
        (
            host.snapshot(host.decided([host.peer("r17-n2", -9.0, watts=40000)])),
            ["gives up 2,450 W for hosts that may follow a higher budget"],
        ),
    ],
    ids=["lends", "borrows", "memory lost", "gives up"],
)
async def test_watts_between_hosts_are_said_with_who_how_much_and_how_long(
    endpoint: "Endpoint", made: Snapshot, lines: list[str]
) -> None:
    endpoint.show(made)
    answer = await powerctl("status", "--url", endpoint.url)
    said = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert [line for line in lines if line not in said] == []


async def test_a_rack_of_one_host_says_nothing_of_peers(endpoint: "Endpoint", healthy: Snapshot) -> None:
    alone = healthy.decision._replace(place=healthy.decision.place._replace(has_peers=False))
    endpoint.show(replace(healthy, decision=alone))
    assert "peers" not in (await powerctl("status", "--url", endpoint.url)).out


async def test_json_is_the_document_with_the_same_exit_code(endpoint: "Endpoint") -> None:
    answer = await powerctl("status", "--url", endpoint.url, "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["budget"]["rack_watts"] == 30000


async def test_the_unix_socket_serves_as_well(endpoint: "Endpoint") -> None:
    answer = await powerctl("explain", "0", "--socket", str(endpoint.socket_path))
    assert answer.code == 0


async def test_explain_says_it_in_a_paragraph_and_then_lists_every_step(endpoint: "Endpoint") -> None:
    answer = await powerctl("explain", "GPU-0", "--url", endpoint.url)
    assert answer.code == 0
    rows = re.findall(r"^(rack|host|gpu) +([\d,]+) W +(\w+(?: \w+)*)", answer.out, re.MULTILINE)
    assert rows == [
        ("rack", "40,000", "hard limit"),
        ("rack", "30,000", "budget"),
        ("rack", "30,000", "rack overhead"),
        ("rack", "29,400", "guard band"),
        ("host", "7,350", "entitlement"),
        ("host", "5,550", "host overhead"),
        ("gpu", "200", "floor"),
        ("gpu", "380", "fair share"),
        ("gpu", "400", "spare"),
    ]
    assert answer.out.index("GPU 0 has 400 W.") < answer.out.index("hard limit")
    as_json = json.loads((await powerctl("explain", "0", "--url", endpoint.url, "--json")).out)
    assert len(as_json["steps"]) == len(rows)
    assert as_json["why"]["text"].startswith("GPU 0 has 400 W.")


async def test_an_unknown_gpu_is_one_line_and_exits_1(endpoint: "Endpoint") -> None:
    answer = await powerctl("explain", "no&gpu=0", "--url", endpoint.url)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("powerctl: 'no&gpu=0' is not a GPU of this host; known: 0 GPU-00aa-0")


async def test_a_shell_offers_the_gpus_that_the_daemon_knows(
    endpoint: "Endpoint", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_POWERCTL_COMPLETE", "complete_bash")
    for url, offered in ((endpoint.url, [str(index) for index in range(8)]), ("http://127.0.0.1:1", [])):
        monkeypatch.setenv("COMP_WORDS", f"powerctl explain --url {url} ")
        monkeypatch.setenv("COMP_CWORD", "4")
        answer = await powerctl()
        assert (answer.code, answer.out.split(), answer.err) == (0, offered, "")


async def test_verify_is_silent_about_nothing_and_exits_0(endpoint: "Endpoint", healthy: Snapshot) -> None:
    endpoint.show(healthy)
    answer = await powerctl("verify", "--url", endpoint.url)
    assert (answer.code, answer.out) == (0, "5 GPUs: requested as decided, enforced at most that\n")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"requested_mw": 700_000}, "target 400 W, requested 700 W, enforced 400 W"),
        ({"enforced_mw": 401_000}, "target 400 W, requested 400 W, enforced 401 W"),
        ({"enforced_mw": None}, "target 400 W, but its limit could not be read back"),
        ({"state": GpuState.LOST}, "lost, its limit cannot be read"),
    ],
)
async def test_verify_lists_gpus_that_are_not_as_decided_and_exits_1(
    endpoint: "Endpoint", healthy: Snapshot, changes: dict[str, object], difference: str
) -> None:
    bad = replace(healthy.readings[2], **changes)  # type: ignore[arg-type] # by parameter
    endpoint.show(replace(healthy, readings=(*healthy.readings[:2], bad, *healthy.readings[3:])))
    answer = await powerctl("verify", "--url", endpoint.url)
    assert (answer.code, answer.out) == (1, f"GPU 2 GPU-22aa-2: {difference}\n")


async def test_an_out_of_band_limit_below_the_target_is_as_decided(
    endpoint: "Endpoint", healthy: Snapshot
) -> None:
    endpoint.show(replace(healthy, readings=(replace(healthy.readings[0], enforced_mw=300_000),)))
    assert (await powerctl("verify", "--url", endpoint.url)).code == 0


async def test_no_daemon_exits_3_with_one_line(tmp_path: Path) -> None:
    for where in (("--url", "http://127.0.0.1:1"), ("--socket", str(tmp_path / "none.sock"))):
        answer = await powerctl("status", *where)
        assert (answer.code, answer.out) == (3, "")
        assert answer.err.count("\n") == 1
        assert "is powerd running?" in answer.err


@pytest.mark.parametrize(
    "greeting",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b'HTTP/1.1 200 OK\r\n\r\n{"age_s":NaN}',
        b"HTTP/1.1 200 OK\r\n\r\n[]",
    ],
)
async def test_a_server_that_is_not_powerd_exits_3(greeting: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await powerctl("status", "--url", f"http://127.0.0.1:{port}")
    assert answer.code == 3
    assert answer.err.count("\n") == 1


async def test_a_daemon_without_an_iteration_yet_exits_1(endpoint: "Endpoint") -> None:
    endpoint.show(None)
    answer = await powerctl("status", "--url", endpoint.url)
    assert (answer.code, answer.err) == (
        1,
        "powerctl: no iteration has finished yet: try again in a second\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["explain"],
        ["status", "--url", "ftp://x"],
        ["status", "--url", "http://[::1"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17"],
        ["publish", "budget", "--site", "hel1", "--rack", "R 17", "--watts", "1"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "lots"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "nan"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "-5"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "1", "--lease", "60"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "1", "--lease", "1h"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "1", "--every", "60s"],
        ["publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "1", "--broker", "http://x"],
        [
            "publish",
            "budget",
            "--site",
            "h",
            "--rack",
            "r",
            "--watts",
            "1",
            "--password-file",
            "/nonexistent",
        ],
    ],
)
async def test_usage_errors_exit_2_without_a_traceback(arguments: list[str]) -> None:
    answer = await powerctl(*arguments)
    assert answer.code == 2
    assert answer.err
    assert "Traceback" not in answer.err


async def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret", encoding="utf-8")
    secret.chmod(0o644)
    publish = ("publish", "budget", "--site", "h", "--rack", "r", "--watts", "1")
    answer = await powerctl(*publish, "--password-file", str(secret))
    assert answer.code == 2
    assert "chmod 0600" in answer.err
    assert "s3cret" not in answer.err


async def test_an_absent_broker_exits_1_with_one_line() -> None:
    publish = ("publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "30000")
    answer = await powerctl(*publish, "--broker", "mqtt://127.0.0.1:1")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "refused" in answer.err


@pytest.mark.parametrize("command", ["status", "explain", "verify", "publish budget"])
async def test_every_command_has_help_with_an_example(command: str) -> None:
    answer = await powerctl(*command.split(), "--help")
    assert answer.code == 0
    assert "Example:" in answer.out
    assert f"powerctl {command}" in " ".join(answer.out.split())


async def test_off_a_terminal_there_is_no_colour(endpoint: "Endpoint") -> None:
    for command in (("status",), ("explain", "0")):
        assert "\x1b" not in (await powerctl(*command, "--url", endpoint.url)).out


async def test_asking_for_the_status_loads_no_package_it_does_not_need(endpoint: "Endpoint") -> None:
    heavy = ("aiohttp", "aiomqtt", "asyncio", "prometheus_client", "rich", "powerd.core", "powerd.settings")
    ask = (
        "import contextlib, io, sys; from powerd.ctl.main import main\n"
        f"sys.argv[1:] = ['status', '--json', '--url', '{endpoint.url}']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said: main()\n"
        f"print(len(said.getvalue()) > 0, [name for name in {heavy} if name in sys.modules])"
    )
    program = [sys.executable, "-c", ask]
    loaded = await asyncio.to_thread(
        subprocess.run, program, capture_output=True, check=True, text=True, timeout=30
    )
    assert loaded.stdout == "True []\n"

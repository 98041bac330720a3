"""`python -m powerd.guard`: the privileged process, or the action that a service manager runs after it.

Options are read by hand: argparse would cost a tenth of the memory that the guard may use.
"""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from powerd import renewal
from powerd.core.model import Result
from powerd.errors import ConfigError
from powerd.guard import config as guard_config
from powerd.guard import journal
from powerd.guard.config import GpuConfig, GuardConfig
from powerd.guard.driver import Driver
from powerd.guard.keeper import FALL_BACK_WITHIN_S
from powerd.guard.protocol import Message, decode, encode
from powerd.guard.server import Loop, Server, watch_stdin
from powerd.notify import notify

_USAGE = """usage: powerd guard --config FILE [--apply-fallback | --release | --exit-with-stdin]

The only process that writes GPU power limits. Serves powerd on a Unix socket.

  --config FILE       the configuration, e.g. /etc/powerd/powerd.toml
  --apply-fallback    lower the GPUs to the fallback limits of the plan in force and end, within 4 s;
                      a guard that runs is asked to do it
  --release           put back the limits that the GPUs had before the first write, and end; no guard may run
  --exit-with-stdin   do the same and end when standard input ends
  --help              show this

example: powerd guard --config /etc/powerd/powerd.toml
"""
_OK, _FAILED, _USAGE_ERROR = 0, 1, 2
# A first opening of the driver takes seconds per GPU; one that hangs is told of as it stands.
RELEASE_WITHIN_S = 30.0
RELEASED = (Result.APPLIED, Result.CLAMPED)


@dataclass
class _Options:
    config: str = ""
    apply_fallback: bool = False
    release: bool = False
    exit_with_stdin: bool = False


def main(argv: list[str]) -> int:
    """Run the guard until it is told to stop; return the exit code: 0 ok, 1 failed, 2 configuration error."""
    if "--help" in argv:
        sys.stdout.write(_USAGE)
        return _OK
    try:
        options = _parse(argv)
        gpu, guard = _configuration(options)
        if options.apply_fallback:
            return _apply_fallback(guard, _driver(gpu))
        if options.release:
            return _release(guard, _driver(gpu))
        return _serve(guard, _driver(gpu), exit_with_stdin=options.exit_with_stdin)
    except ConfigError as error:
        sys.stderr.write(f"powerd guard: {error}\n")
        return _USAGE_ERROR


def _parse(argv: list[str]) -> _Options:
    options = _Options()
    arguments = iter(argv)
    for argument in arguments:
        match argument:
            case "--config":
                options.config = next(arguments, "")
            case "--apply-fallback":
                options.apply_fallback = True
            case "--release":
                options.release = True
            case "--exit-with-stdin":
                options.exit_with_stdin = True
            case _:
                raise ConfigError(f"unknown argument {argument}; see powerd guard --help")
    if not options.config:
        raise ConfigError("--config FILE is missing; see powerd guard --help")
    return options


def _configuration(options: _Options) -> tuple[GpuConfig, GuardConfig]:
    """Return what the files say. Whoever made them useless shall not keep limits up: a stop action goes on.

    Raises:
        ConfigError: a source cannot be used.
    """
    try:
        return guard_config.load(Path(options.config), os.environ)
    except ConfigError as error:
        if not options.apply_fallback:
            raise
        journal.log(journal.WARNING, f"{error}; falling back as if nothing were configured")
        return GpuConfig(), GuardConfig()


def _driver(gpu: GpuConfig) -> Driver:
    # Imported where chosen: neither driver's libraries shall cost memory beside the other's.
    if gpu.driver == "simulated":
        from powerd.guard.simulated import SimulatedDriver  # noqa: PLC0415

        return SimulatedDriver(gpu.simulated)
    from powerd.guard.nvml import NvmlDriver  # noqa: PLC0415

    return NvmlDriver()


def _serve(config: GuardConfig, driver: Driver, *, exit_with_stdin: bool) -> int:
    loop = Loop(config, driver)
    server = Server(config, loop)
    told: list[str] = []
    loop.stop_on_signals(lambda: told.append("signal"))
    signal.signal(renewal.SIGNAL, lambda _number, _frame: told.append("renewal"))
    # A reload is the daemon's; whoever means both must not end the guard by it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if exit_with_stdin:
        watch_stdin(loop, lambda: told.append("orphaned"))
    notify("READY=1")
    journal.log(journal.NOTICE, f"listening on {config.socket}")
    loop.run_until(lambda: bool(told) or loop.keeper.is_obsolete)
    if told != ["renewal"]:
        notify("STOPPING=1")
    server.close()
    if "orphaned" in told:
        _fall_back(loop, "the process that started this guard has ended")
    loop.detach()
    if told == ["renewal"]:
        renewal.start_again()
    if loop.keeper.is_obsolete:
        journal.log(
            journal.WARNING, "the driver was upgraded: this guard ends, to be started with the new one"
        )
        return _FAILED
    return _OK


def _apply_fallback(config: GuardConfig, driver: Driver) -> int:
    if _asked_running_guard(config.socket_path):
        return _OK
    loop = Loop(config, driver)
    return _OK if _fall_back(loop, "the guard was stopped") else _FAILED


def _release(config: GuardConfig, driver: Driver) -> int:
    if _is_served(config.socket_path):
        raise ConfigError(f"a guard runs on {config.socket}: use powerctl release, or stop it first")
    loop = Loop(config, driver)
    answers: list[Message] = []
    # A reading first: it is answered once the driver is there and its GPUs are known.
    loop.keeper.read(answers.append)
    loop.run_until(lambda: bool(answers), RELEASE_WITHIN_S)
    loop.keeper.release(loop.keeper.new_client(), answers.append, within_ceilings=False)
    done = loop.run_until(lambda: len(answers) > 1, RELEASE_WITHIN_S)
    failed = (
        [outcome for outcome in answers[-1]["outcomes"] if outcome.result not in RELEASED] if done else []
    )
    for outcome in failed:
        journal.log(
            journal.ERROR, f"{outcome.uuid} keeps its limit: {outcome.detail or outcome.result.value}"
        )
    return _FAILED if failed or not done else _OK


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(1.0)
        return peer.connect_ex(str(path)) == 0


def _asked_running_guard(path: Path) -> bool:
    """Leave it to the guard that serves the socket, which would take our writes for those of a stranger."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        # It answers at its own bound at the latest.
        peer.settimeout(FALL_BACK_WITHIN_S + 0.5)
        try:
            peer.connect(str(path))
            peer.sendall(encode({"id": 1, "op": "fallback"}))
            with peer.makefile("rb") as replies:
                hello, reply = decode(replies.readline()), decode(replies.readline())
        except (OSError, ValueError):
            return False
    return bool(hello.get("ok") and reply.get("lowered"))


def _fall_back(loop: Loop, reason: str) -> bool:
    replies: list[Message] = []
    loop.keeper.fall_back(reason, replies.append)
    loop.run_until(lambda: bool(replies))
    if replies[0]["lowered"]:
        return True
    journal.log(journal.ERROR, "not every GPU could be lowered to its fallback limit in time")
    return False


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Not sys.exit: finalisation would wait for the interpreter lock of a thread that hangs in the driver.
    sys.stdout.flush()
    os._exit(code)

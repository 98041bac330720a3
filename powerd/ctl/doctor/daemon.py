"""What `powerctl doctor` reads from the daemon's own status."""

from collections.abc import Iterator

from powerd.ctl.client import Document
from powerd.ctl.doctor.check import Check, failed, not_checked, ok, warning
from powerd.ctl.reasons import span
from powerd.ctl.views.orders import standing

_RIVALS = ("other_writer", "out_of_band_limit")
# Told by checks of their own, here and elsewhere.
_TOLD = {
    *_RIVALS,
    "power_brake",
    "roster_mismatch",
    "guard_unusable",
    "gpu_not_settable",
    "mqtt_disconnected",
}


def daemon(status: Document) -> Iterator[Check]:
    """Yield how the daemon, its guard and its mode stand."""
    if status["stalled"]:
        text = f"no iteration has finished for {span(status['age_s'])}"
        yield failed("daemon.loop", text, "journalctl -u powerd; the watchdog restarts it within 20 s")
    else:
        yield ok("daemon.loop", f"powerd {status['version']} decides every {status['period_s']:g} s")
    guard = status["guard"]
    if (status.get("orders") or {}).get("detached"):
        yield warning(
            "daemon.guard", guard["error"] or "the driver is let go", "powerctl attach --reason TEXT"
        )
    elif guard["usable"]:
        yield ok("daemon.guard", "the guard answers and takes plans")
    else:
        yield failed(
            "daemon.guard", guard["error"], "systemctl status powerd-guard; journalctl -u powerd-guard"
        )
    if guard["writes_forbidden"]:
        fix = "take POWERD_FORBID_WRITES out of the guard's environment, and restart powerd-guard"
        yield failed("daemon.writes", "POWERD_FORBID_WRITES is set: the guard writes no limit", fix)
    elif status["mode"] == "enforce":
        yield ok("daemon.writes", "mode enforce: limits are written")
    else:
        fix = 'powerctl mode enforce --reason TEXT for now, host.mode = "enforce" for good'
        yield warning("daemon.writes", f"mode {status['mode']}: no limit is written", fix)
    orders = [f"{name}: {text}" for name, text in standing(status) if name != "mode"]
    if orders:
        yield warning("daemon.orders", "; ".join(orders), "end them with powerctl once they are not needed")
    else:
        yield ok("daemon.orders", "no override, detach, release or drill holds")
    yield from _problems(status)


def gpus(status: Document) -> Iterator[Check]:
    """Yield what can be done with each GPU, who else limits them, and whether the power brake is pulled."""
    if not status["gpus"]:
        yield failed(
            "gpu.count", "no GPU is known", "nvidia-smi -L; is the driver loaded, is gpu.driver right?"
        )
    for gpu in status["gpus"]:
        yield _gpu(gpu)
    rivals = [problem["text"] for problem in status["errors"] if problem["event"] in _RIVALS]
    if rivals:
        fix = "find who writes limits (cron, a scheduler's prolog, DCGM) or caps out of band (BMC, chassis)"
        yield warning("gpu.rivals", "; ".join(rivals), fix)
    else:
        yield ok("gpu.rivals", "nobody else has set a limit since powerd looks; who will is not to be seen")
    brake = [problem["text"] for problem in status["errors"] if problem["event"] == "power_brake"]
    if brake:
        yield failed(
            "gpu.power_brake", brake[0], "look at power supplies, their cabling and the chassis's log"
        )
    else:
        yield ok("gpu.power_brake", "no GPU reports a hardware power brake")


def rack(status: Document) -> Iterator[Check]:
    """Yield how the daemon's own connection and the other hosts of the rack stand."""
    bus = status["bus"]
    if bus["connected"]:
        rejected = f", {bus['rejected']} of {bus['received']} messages rejected" if bus["rejected"] else ""
        yield ok("rack.broker", f"the daemon is connected to {bus['url']}, MQTT {bus['protocol']}{rejected}")
    else:
        fix = "see the broker.* checks below; without it the host goes to failsafe when its lease ends"
        yield failed("rack.broker", f"the daemon is not connected: {bus['error']}", fix)
    cause = status["failsafe_cause"]
    if cause:
        text = f"the failsafe budget holds: {cause.replace('_', ' ')}"
        yield failed("rack.controller", text, "is the controller up, and may it publish the rack's budget?")
    else:
        yield ok("rack.controller", f"a controller is heard: {status['state']}")
    if status["infeasible_watts"] > 0:
        fix = "have the budget raised, or stop jobs: limits cannot go lower"
        yield failed("rack.feasible", f"the budget is {status['infeasible_watts']:g} W below the floors", fix)
    yield from _peers(status)


def _gpu(gpu: Document) -> Check:
    name, about = f"gpu.{gpu['index']}", f"GPU {gpu['index']} {gpu['uuid']}"
    if gpu["state"] != "ok":
        detail = f": {gpu['detail']}" if gpu["detail"] else ""
        fix = "dmesg | grep -i xid; to reset it: powerctl detach, nvidia-smi -r, powerctl attach"
        return failed(name, f"{about} is {gpu['state']}{detail}", fix)
    if gpu["min_watts"] is None or gpu["max_watts"] is None:
        fix = "a board without power management, or a vGPU: set gpu.ceiling_watts so that it counts no more"
        return warning(name, f"{about} tells no range of limits", fix)
    if gpu["capability"] != "settable":
        fix = "the guard needs CAP_SYS_ADMIN and the device files: systemctl cat powerd-guard"
        return warning(name, f"{about} can only be read: its limit is {gpu['capability']}", fix)
    return ok(name, f"{about} can be limited from {gpu['min_watts']:g} to {gpu['max_watts']:g} W")


def _peers(status: Document) -> Iterator[Check]:
    peers = status["peers"]
    if not peers:
        yield not_checked("rack.roster", "this host deals with no other host")
        return
    differ = [peer["host"] for peer in peers if peer["roster_agrees"] is False]
    silent = [peer["host"] for peer in peers if not peer["live"]]
    if differ:
        fix = "make [rack] the same on every host: powerd check-config prints its digest"
        yield failed("rack.roster", f"another [rack] table on {', '.join(differ)}: no watts are lent", fix)
    else:
        yield ok("rack.roster", f"of {len(peers)} other hosts none has another [rack] table")
    if silent:
        fix = "powerctl doctor there; a host that is silent keeps its watts"
        yield warning("rack.peers", f"not heard: {', '.join(silent)}", fix)


def _problems(status: Document) -> Iterator[Check]:
    left = [p for p in status["errors"] if p["severity"] != "info" and p["event"] not in _TOLD]
    if left:
        texts = "; ".join(f"{problem['event']}: {problem['text']}" for problem in left[-3:])
        more = f"{len(left)} problems, the last of them " if len(left) > len(left[-3:]) else ""
        yield warning("daemon.problems", f"{more}{texts}", "powerctl status; powerctl history --since 1h")
    else:
        yield ok("daemon.problems", "the daemon complains of nothing else")

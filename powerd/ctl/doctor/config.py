"""What `powerctl doctor` makes of the configuration: usable, what the daemon goes by, and its directory."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from powerd.ctl.client import Document
from powerd.ctl.doctor.check import Check, failed, not_checked, ok, warning
from powerd.errors import ConfigError
from powerd.settings.model import Settings

_LEAST_FREE_BYTES = 64 * 2**20
_READ = re.compile(r"^powerd_config_last_reload_timestamp_seconds(?:\{.*\})? (\S+)$", re.MULTILINE)
_USABLE = re.compile(r"^powerd_config_last_reload_successful(?:\{.*\})? (\S+)$", re.MULTILINE)
_RELOAD = "systemctl reload powerd; keys that need it: systemctl restart powerd"


def loaded(path: Path) -> tuple[Settings | None, Check]:
    """Return the settings of a file as the daemon would read it, and how that went."""
    from powerd.settings.loading import load  # noqa: PLC0415 -- pydantic is slow to import

    name = "config.file"
    if not os.access(path, os.R_OK):
        fix = "name it with --config, or run it as root; the package puts an example there"
        return None, not_checked(name, f"{path} is not there, or not for you to read", fix)
    try:
        return load(path, {}, os.environ).settings, ok(name, f"{path} is valid")
    except ConfigError as error:
        return None, failed(name, str(error).splitlines()[0], f"powerd check-config {path}")


def drift(path: Path, settings: Settings, status: Document, metrics: str) -> Iterator[Check]:
    """Yield how the file differs from what the daemon goes by.

    Args:
        path: the main file.
        settings: as the file has them now.
        status: of the daemon.
        metrics: its /metrics; empty if it gives none.
    """
    name = "config.drift"
    if (usable := _USABLE.search(metrics)) and float(usable[1]) == 0:
        fix = f"powerd check-config {path}, then systemctl reload powerd"
        yield failed("config.reload", "the last reload failed: the daemon goes by what it had before", fix)
    differ = [
        f"{what}: the daemon goes by {there}, the file says {here}"
        for what, here, there in _differences(settings, status)
    ]
    files = [path, *sorted(path.parent.glob("conf.d/*.toml"))]
    if read := _READ.search(metrics):
        newer = [str(file) for file in files if file.stat().st_mtime > float(read[1])]
        differ += [f"{file} was changed after the daemon had read it" for file in newer]
    if differ:
        yield warning(name, "; ".join(differ), _RELOAD)
    elif read:
        yield ok(name, f"{len(files)} files, none changed since the daemon has read them")
    else:
        yield not_checked(name, "when the daemon read its files is not known; what it tells agrees with them")


def state_dir(path: Path) -> Check:
    """Return whether the daemon can remember."""
    name = "config.state_dir"
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return failed(name, f"{path}: {error.strerror}", f"install -d -o powerd -g powerd -m 0750 {path}")
    if free < _LEAST_FREE_BYTES:
        fix = "make room: a restart that remembers nothing starts at failsafe, and nothing is lent"
        return failed(name, f"{free / 2**20:.0f} MiB are free in {path}", fix)
    about = f"{free / 2**30:.1f} GiB are free"
    if _is_written(path):
        return ok(name, f"{path} can be written to, {about}")
    if os.geteuid() == 0:
        return failed(name, f"{path} cannot be written to", "is it mounted read-only, or full?")
    return not_checked(name, f"{path} is not for you to write to; {about}", "run it as root")


def _differences(settings: Settings, status: Document) -> Iterator[tuple[str, str, str]]:
    """Yield each thing that the daemon tells and that is otherwise in the file: what, here, there."""
    from powerd.core.leases.memory import roster_digest  # noqa: PLC0415
    from powerd.settings.rules import lease_rules, rack  # noqa: PLC0415

    orders, lending = status.get("orders") or {}, status["lending"]
    mode = orders.get("configured_mode") or status["mode"]
    if mode != settings.host.mode:
        yield "host.mode", settings.host.mode, mode
    for key in ("site", "rack"):
        if getattr(settings.host, key) != status[key]:
            yield f"host.{key}", getattr(settings.host, key), status[key]
    digest = roster_digest(rack(settings), lease_rules(settings))
    if lending is not None and lending["roster"] != digest:
        yield "the digest of [rack]", digest, lending["roster"]


def _is_written(path: Path) -> bool:
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True

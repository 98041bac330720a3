"""A real Prometheus with the rules loaded, on a free loopback port, that scrapes often."""

import http.client
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import yaml

from tests.broker import free_port
from tests.daemon.waiting import wait_until
from tests.monitoring.promql import RULES

_Value = TypeVar("_Value")

_WITHIN_S = 15.0
# Often enough that what comes true at powerd is seen at once.
_INTERVAL = "300ms"


class Prometheus:
    """One server. A context manager that starts and ends it.

    Args:
        directory: for its configuration, store and log.
        target: `address:port` of powerd.
    """

    def __init__(self, directory: Path, target: str) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        jobs = [{"job_name": "powerd", "static_configs": [{"targets": [target]}]}]
        intervals = {
            "scrape_interval": _INTERVAL,
            "scrape_timeout": _INTERVAL,
            "evaluation_interval": _INTERVAL,
        }
        config = {"global": intervals, "rule_files": [str(RULES)], "scrape_configs": jobs}
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def __enter__(self) -> Self:
        command = (
            "prometheus",
            f"--config.file={self._directory}/prometheus.yml",
            f"--storage.tsdb.path={self._directory}/store",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        )
        with (self._directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.wait_for(lambda: b"is Ready" in self._get("/-/ready"), "Prometheus to be ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(timeout=10)

    @property
    def log(self) -> str:
        """Return what it complained about."""
        return (self._directory / "prometheus.log").read_text(encoding="utf-8")

    def targets(self) -> list[dict[str, Any]]:
        """Return how the targets stand that were scraped."""
        targets = self._data("/api/v1/targets")["activeTargets"]
        return [target for target in targets if target["health"] != "unknown"]

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules and how their last evaluation went."""
        return [rule for group in self._data("/api/v1/rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that are pending or firing, by name."""
        return {alert["labels"]["alertname"]: alert for alert in self._data("/api/v1/alerts")["alerts"]}

    def alert(self, name: str) -> dict[str, Any]:
        """Wait until an alert is pending or firing, and return it."""
        self.wait_for(lambda: name in self.alerts(), name)
        return self.alerts()[name]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression as of now.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        return list(self._data(f"/api/v1/query?query={quote(expression)}")["result"])

    def wait_for(self, condition: Callable[[], _Value], what: str) -> _Value:
        """Wait until the condition is true and return its value."""
        return wait_until(condition, _WITHIN_S, what=what, evidence=lambda: self.log)

    def _data(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._get(path))
        assert document["status"] == "success", document
        return dict(document["data"])

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

"""The manifests agree with each other, with the image, and with what powerd serves and needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from powerd.check import check
from powerd.settings.tables import HostSettings
from powerd.web.routes import HEALTH, READINESS

ROOT = Path(__file__).parent.parent.parent
KUBERNETES = ROOT / "packaging" / "kubernetes"
CONTAINERFILE = (ROOT / "packaging" / "container" / "Containerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    document = yaml.safe_load((KUBERNETES / "daemonset.yaml").read_text(encoding="utf-8"))
    return dict(document["spec"]["template"]["spec"])


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in pod["containers"]}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_only_the_guard_is_privileged(pod: dict[str, Any]) -> None:
    guard, daemon = (containers(pod)[name]["securityContext"] for name in ("guard", "daemon"))
    assert guard["privileged"]
    assert daemon["runAsNonRoot"]
    assert daemon["capabilities"] == {"drop": ["ALL"]}
    assert not daemon["allowPrivilegeEscalation"]
    assert guard["readOnlyRootFilesystem"]
    assert daemon["readOnlyRootFilesystem"]


def test_no_gpu_is_kept_from_a_job(pod: dict[str, Any]) -> None:
    for container in pod["containers"] + pod["initContainers"]:
        asked = container["resources"].get("requests", {}) | container["resources"].get("limits", {})
        assert set(asked) <= {"cpu", "memory"}


def test_no_service_can_configure_powerd(pod: dict[str, Any]) -> None:
    """Service links are variables named after services; one named powerd would bring POWERD_PORT."""
    assert pod["enableServiceLinks"] is False


def test_probes_ask_what_powerd_serves(pod: dict[str, Any]) -> None:
    daemon = containers(pod)["daemon"]
    paths = {daemon[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert paths == {HEALTH.route, READINESS.route}
    port = variables(daemon)["POWERD_HTTP__LISTEN"].rpartition(":")[2]
    assert daemon["ports"] == [{"name": "http", "containerPort": int(port)}]


def test_the_daemon_is_the_user_of_the_image_and_the_client_of_the_guard(pod: dict[str, Any]) -> None:
    user = containers(pod)["daemon"]["securityContext"]["runAsUser"]
    [(number, name)] = re.findall(rf"--uid ({user}) .* (\S+) \\", CONTAINERFILE)
    assert int(number) == user
    assert variables(containers(pod)["guard"])["POWERD_GUARD__CLIENT_USER"] == name


def test_both_meet_at_the_socket_and_what_has_to_last_outlives_the_pod(pod: dict[str, Any]) -> None:
    guard, daemon = (containers(pod)[name] for name in ("guard", "daemon"))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts(guard)["/run/powerd-guard"] == mounts(daemon)["/run/powerd-guard"]
    kept = mounts(guard)[variables(guard)["POWERD_GUARD__STATE_DIR"]]
    state = mounts(daemon)[HostSettings(site="s", rack="r", name="n").state_dir]
    assert "hostPath" in volumes[kept]
    assert "hostPath" in volumes[state]


def test_a_pod_that_goes_lowers_its_gpus(pod: dict[str, Any]) -> None:
    command = containers(pod)["guard"]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "powerd"
    assert command[-1] == "--apply-fallback"


def test_the_example_configuration_is_valid_on_each_of_its_nodes() -> None:
    for node in ("r17-n1", "r17-n4"):
        assert check(KUBERNETES / "powerd.toml", environment={"POWERD_HOST__NAME": node}).ok

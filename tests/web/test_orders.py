"""Orders from outside: over the socket of a real daemon, and what of them is refused before anybody acts."""

import getpass
import http.client
import json
import os
from typing import Any

import pytest

from powerd.web.peer import Peers
from tests.daemon.host import OverSocket
from tests.daemon.rig import Rig

WHY = {"reason": "GPU 3 is slow"}
OVERRIDE = {"gpu": "3", "watts": 300, "ttl_s": 600, **WHY}
PATHS = ("override", "release", "detach", "attach", "mode", "drill")


def give(
    rig: Rig,
    order: str,
    body: object,
    *,
    content_type: str = "application/json",
    method: str = "POST",
) -> tuple[int, dict[str, Any]]:
    """Give an order over the socket; return the status and the document."""
    connection = OverSocket(rig.socket, timeout_s=20)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, f"/v1/{order}", raw, {"Content-Type": content_type})
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
    finally:
        connection.close()
    return answer.status, document


def refusal(rig: Rig, order: str, body: object, **how: str) -> tuple[int, str]:
    status, document = give(rig, order, body, **how)
    assert list(document) == ["error"]
    assert "\n" not in document["error"]
    return status, document["error"]


def test_an_override_is_carried_out_shown_and_ended(rig: Rig) -> None:
    status, document = give(rig, "override", OVERRIDE)
    assert status == 200
    assert document["done"]
    assert document["until"].endswith("Z")
    (held,) = rig.status()["orders"]["overrides"]
    assert (held["index"], held["watts"], held["reason"]) == (3, 300.0, WHY["reason"])
    assert 590 < held["remaining_s"] <= 600
    assert held["by"].startswith(getpass.getuser())
    status, document = give(rig, "override", {"gpu": "3", "watts": None, **WHY})
    assert (status, document["until"]) == (200, None)
    assert rig.status()["orders"]["overrides"] == []


def test_the_log_says_who_ordered_what_and_why_by_the_kernels_word(rig: Rig) -> None:
    give(rig, "override", {"gpu": "2", "watts": None, "reason": "for the record 17"})
    line = next(line for line in rig.daemon.log.splitlines() if "for the record 17" in line)
    for expected in ("order", f"uid={os.getuid()}", f"pid={os.getpid()}", getpass.getuser()):
        assert expected in line


async def test_a_user_whom_the_host_does_not_know_goes_by_the_number() -> None:
    peers = Peers()
    assert await peers._name(os.getuid()) == getpass.getuser()
    assert await peers._name(4_000_000_001) == "uid 4000000001"


def test_an_order_is_in_the_history_with_who_gave_it(rig: Rig) -> None:
    give(rig, "override", {"gpu": "2", "watts": None, "reason": "for the story 18"})
    happenings = json.loads(rig.get("/v1/history").body)["happenings"]
    (found,) = [each for each in happenings if "for the story 18" in each["text"]]
    assert found["event"] == "order"
    assert getpass.getuser() in found["by"]


def test_an_unknown_gpu_is_404_and_lists_the_known_ones(rig: Rig) -> None:
    status, text = refusal(rig, "override", OVERRIDE | {"gpu": "77"})
    assert status == 404
    assert "known: 0 GPU-" in text


def test_what_cannot_be_done_as_things_are_is_409_and_says_why(rig: Rig) -> None:
    status, text = refusal(rig, "override", OVERRIDE | {"watts": 50_000})
    assert status == 409
    assert "400" in text  # the most that this GPU can be limited to
    assert rig.status()["orders"]["overrides"] == []


@pytest.mark.parametrize(
    ("order", "body", "about"),
    [
        ("override", {**OVERRIDE, "wats": 300}, "wats"),
        ("override", {"gpu": "3", "ttl_s": 600, **WHY}, "watts"),
        ("override", {"gpu": "3", "watts": 300, **WHY}, "ttl_s"),
        ("override", {**OVERRIDE, "watts": "300"}, "watts"),
        ("override", {**OVERRIDE, "watts": True}, "watts"),
        ("override", {**OVERRIDE, "watts": -1}, "watts"),
        ("override", {**OVERRIDE, "gpu": 3}, "gpu"),
        ("override", {**OVERRIDE, "ttl_s": 59}, "ttl_s"),
        ("override", {**OVERRIDE, "ttl_s": 86_401}, "ttl_s"),
        ("override", {**OVERRIDE, "reason": ""}, "reason"),
        ("override", {**OVERRIDE, "reason": "two\nlines"}, "reason"),
        ("override", {**OVERRIDE, "reason": "\x1b[2J"}, "reason"),
        ("override", {**OVERRIDE, "reason": "x" * 257}, "reason"),
        ("override", b'{"gpu":"3","watts":NaN,"ttl_s":600,"reason":"x"}', "NaN"),
        ("override", b'{"gpu":"3","watts":1e999,"ttl_s":600,"reason":"x"}', "1e999"),
        ("override", b'{"gpu":"3","gpu":"4","watts":300,"ttl_s":600,"reason":"x"}', "more than once"),
        ("override", b"\xff", "UTF-8"),
        ("override", [], "array"),
        ("override", b"", "JSON"),
        ("release", {}, "reason"),
        ("detach", {**WHY, "force": "yes"}, "force"),
        ("attach", {**WHY, "force": True}, "force"),
        ("mode", {**WHY, "mode": "enforced"}, "mode"),
        ("drill", {**WHY, "drill": "fire", "duration_s": 30}, "drill"),
        ("drill", {**WHY, "drill": "lost-controller", "duration_s": 5}, "duration_s"),
        ("drill", {**WHY, "drill": "lost-controller", "duration_s": 3601}, "duration_s"),
    ],
)
def test_what_is_not_a_whole_order_is_not_tried(rig: Rig, order: str, body: object, about: str) -> None:
    before = rig.status()["orders"]
    status, text = refusal(rig, order, body)
    assert status == 400
    assert about in text
    assert rig.status()["orders"] == before


def test_a_body_that_is_not_declared_json_is_refused(rig: Rig) -> None:
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        status, text = refusal(rig, "release", WHY, content_type=content_type)
        assert (status, "application/json" in text) == (415, True)


def test_a_body_that_is_too_big_is_refused(rig: Rig) -> None:
    status, text = refusal(rig, "release", {"reason": "x" * 5000})
    assert status == 413
    assert "4096" in text


@pytest.mark.parametrize("order", PATHS)
def test_the_network_gives_no_orders(rig: Rig, order: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rig.http_port, timeout=5)
    connection.request("POST", f"/v1/{order}", json.dumps(OVERRIDE), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    assert answer.status == 405
    assert str(rig.socket) in document["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_an_order_is_posted_and_nothing_else(rig: Rig, method: str) -> None:
    connection = OverSocket(rig.socket, timeout_s=20)
    connection.request(method, "/v1/release")
    answer = connection.getresponse()
    connection.close()
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_what_can_be_read_over_the_socket_cannot_be_posted(rig: Rig) -> None:
    status, _ = refusal(rig, "status", WHY)
    assert status == 405

"""What an operator can get wrong in a meter's description is told when it is read, with the key."""

from collections.abc import Callable

import pytest

from powerd.errors import SignalRejectedError
from powerd.meters.options import DsxOptions, DsxPart, GenericPart, MeterOptions, NativePart, Part
from powerd.meters.pointer import checked_pointer, find

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: NativePart("Feed A"), "feed"),
    (lambda: NativePart("a", "a/b"), "feed"),
    (lambda: DsxPart("a"), "one of object_id, rack_location and point is needed"),
    (lambda: DsxPart("a", object_id="x", rack_location="y"), "exclude each other"),
    (lambda: DsxPart("a", point="Rack/RackPower/#"), "wildcard"),
    (lambda: DsxPart("a", object_id="x", point="Rack/#/x"), "point"),
    (lambda: DsxOptions(prefix="BMS/+/PUB"), "prefix"),
    (lambda: DsxOptions(heartbeat="#/x"), "heartbeat"),
    (lambda: GenericPart("a", ""), "topic"),
    (lambda: GenericPart("a", "pdu/a+"), "topic"),
    (lambda: GenericPart("a", "pdu/#/a"), "topic"),
    (lambda: GenericPart("a", "pdu/\0"), "topic"),
    (lambda: GenericPart("a", "x" * 65536), "topic"),
    (lambda: GenericPart("a", "pdu", liveness_topic="#a"), "liveness_topic"),
    (lambda: GenericPart("a", "pdu", value="power"), "value"),
    (lambda: GenericPart("a", "pdu", value="/a~2"), "value"),
    (lambda: GenericPart("a", "pdu", unit="mW"), "unit"),
    (lambda: GenericPart("a", "pdu", scale=0), "scale"),
    (lambda: GenericPart("a", "pdu", scale=-1), "scale"),
    (lambda: GenericPart("a", "pdu", scale=float("inf")), "scale"),
    (lambda: GenericPart("a", "pdu", scale=float("nan")), "scale"),
    (lambda: GenericPart("a", "pdu", value="/w", time="/t", time_format="us"), "time_format"),
    (lambda: GenericPart("a", "pdu", value="/w", time="/t"), "time and time_format"),
    (lambda: GenericPart("a", "pdu", value="/w", time_format="s"), "time and time_format"),
    (lambda: GenericPart("a", "pdu", value="/w", quality="/q"), "quality and good"),
    (lambda: GenericPart("a", "pdu", value="/w", good=(1,)), "quality and good"),
    (lambda: GenericPart("a", "pdu", time="/t", time_format="s"), "need value"),
    (lambda: MeterOptions((NativePart("a"), GenericPart("a", "pdu"))), "one name"),
]


@pytest.mark.parametrize(("make", "text"), WRONG)
def test_what_does_not_fit_is_refused_by_key(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_parts_have_the_order_of_the_configuration() -> None:
    parts: tuple[Part, ...] = (NativePart("b"), NativePart("a"))
    assert MeterOptions(parts).names == ("b", "a")
    assert MeterOptions().names == ()


# The examples of RFC 6901, section 5.
DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_a_pointer_leads_where_the_standard_says(pointer: str, found: object) -> None:
    assert find(DOCUMENT, checked_pointer("value", pointer), "p") == found


@pytest.mark.parametrize(
    "pointer", ["/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/bar", "/bar", "/foo/0/0"]
)
def test_a_pointer_that_leads_nowhere_is_told(pointer: str) -> None:
    with pytest.raises(SignalRejectedError, match="leads nowhere") as caught:
        find(DOCUMENT, pointer, "p")
    assert (caught.value.reason, caught.value.source) == ("missing", "p")

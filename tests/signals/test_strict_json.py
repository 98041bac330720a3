"""Every payload of the first rows of the table of verdicts, and what `json.loads` would have let pass."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.errors import SignalRejectedError
from powerd.signals.strict_json import MAX_BYTES, MAX_DEPTH, MAX_PARTS, loads
from tests.signals.hostile import HOSTILE


def reason_for(payload: bytes) -> str:
    with pytest.raises(SignalRejectedError) as caught:
        loads(payload)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    return caught.value.reason


def nested(levels: int) -> bytes:
    """An object in which `levels` objects and arrays are inside each other, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b'{"a":"' + b"x" * MAX_BYTES + b'"}', "too_large", id="more than 64 KiB"),
        pytest.param(b'{"a":[' + b"[]," * MAX_PARTS + b"1]}", "too_large", id="thousands of arrays"),
        pytest.param(b'{"a":[' + b"{}," * MAX_PARTS + b"1]}", "too_large", id="thousands of objects"),
        pytest.param(b'{"a":"\xff"}', "encoding", id="not UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "encoding", id="surrogate as UTF-8"),
        pytest.param(b'{"a":"\xc0\xaf"}', "encoding", id="overlong UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", "encoding", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), "encoding", id="UTF-16 with mark"),
        pytest.param('{"a":1}'.encode("utf-16-le"), "json", id="UTF-16 without mark"),
        pytest.param('{"a":1}'.encode("utf-32"), "encoding", id="UTF-32"),
        pytest.param(nested(MAX_DEPTH + 1), "too_deep", id="17 levels"),
        pytest.param(b'{"a":' * 3000 + b"1" + b"}" * 3000, "too_deep", id="3000 objects"),
        pytest.param(b"[" * 60000, "too_deep", id="60000 brackets, never closed"),
        pytest.param(b'{"a":1,"a":2}', "duplicate_key", id="duplicate key"),
        pytest.param(b'{"a":1,"\\u0061":2}', "duplicate_key", id="duplicate key, escaped"),
        pytest.param(b'{"a":{"b":1,"b":1}}', "duplicate_key", id="duplicate key inside"),
        pytest.param(b"[]", "not_object", id="array"),
        pytest.param(b"30000", "not_object", id="number"),
        pytest.param(b'"30000"', "not_object", id="string"),
        pytest.param(b"null", "not_object", id="null"),
        pytest.param(b"true", "not_object", id="boolean"),
        pytest.param(b'{"a":NaN}', "not_finite", id="NaN"),
        pytest.param(b'{"a":Infinity}', "not_finite", id="Infinity"),
        pytest.param(b'{"a":-Infinity}', "not_finite", id="-Infinity"),
        pytest.param(b'{"a":1e999}', "not_finite", id="1e999"),
        pytest.param(b'{"a":-1e999}', "not_finite", id="-1e999"),
        pytest.param(b'{"a":' + b"9" * 400 + b"}", "not_finite", id="400-digit integer"),
        pytest.param(b'{"a":-' + b"9" * 60000 + b"}", "not_finite", id="60000-digit integer"),
        pytest.param(b'{"a":"\\ud800"}', "surrogate", id="high half"),
        pytest.param(b'{"a":["\\uDC00"]}', "surrogate", id="low half, inside"),
        pytest.param(b'{"\\ud800":1}', "surrogate", id="in a key"),
        pytest.param(b"", "json", id="nothing"),
        pytest.param(b"watts", "json", id="text"),
        pytest.param(b'{"a":1', "json", id="cut off"),
        pytest.param(b'{"a":1}{"a":2}', "json", id="two objects"),
        pytest.param(b"{'a':1}", "json", id="single quotes"),
        pytest.param(b'{"a":1,}', "json", id="trailing comma"),
        pytest.param(b'{"a":01}', "json", id="leading zero"),
        pytest.param(b'{"a":0x10}', "json", id="hexadecimal"),
        pytest.param(b'{"a":"\n"}', "json", id="raw newline in a string"),
    ],
)
def test_a_malformed_payload_is_refused_for_its_reason(payload: bytes, reason: str) -> None:
    assert reason_for(payload) == reason


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1}',
        b' {"a" : 1.5e3 , "b": [true, null] }\n',
        nested(MAX_DEPTH),
        '{"a":"Kühlung \\ud83d\\ude00 😀"}'.encode(),
        b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[","b":"\\"{{{{{{{{{{{{{{{{{{{{{{"}',
        b'{"a":[' + b"[]," * 500 + b"[]]}",
        b'{"a":"' + b"x" * (MAX_BYTES - 8) + b'"}',
        b'{"a":' + b"9" * 300 + b"}",
    ],
    ids=[
        "plain",
        "spaces",
        "16 levels",
        "emoji",
        "brackets in strings",
        "many arrays",
        "64 KiB",
        "300 digits",
    ],
)
def test_a_well_formed_payload_is_read_as_json_reads_it(payload: bytes) -> None:
    assert loads(payload) == json.loads(payload)


def written(kinds: list[str], texts: list[str]) -> bytes:
    """An object that holds an object or array for each of `kinds`, inside each other, beside some texts."""
    value: object = texts
    for kind in kinds:
        value = {"a": value, "b": texts} if kind == "object" else [texts, value]
    return json.dumps({"a": value}).encode()


@given(
    kinds=st.lists(st.sampled_from(["object", "array"]), min_size=8, max_size=40),
    texts=st.lists(st.text(alphabet='[]{}"\\a', max_size=4), max_size=2),
)
def test_levels_are_counted_exactly_whatever_they_are_made_of(kinds: list[str], texts: list[str]) -> None:
    """The object itself and the array of texts are levels too."""
    payload = written(kinds, texts)
    if len(kinds) + 2 <= MAX_DEPTH:
        assert loads(payload) == json.loads(payload)
    else:
        assert reason_for(payload) == "too_deep"


@given(st.binary(max_size=300))
def test_no_bytes_whatever_do_more_than_be_refused(payload: bytes) -> None:
    with contextlib.suppress(SignalRejectedError):
        assert isinstance(loads(payload), dict)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_every_object_that_json_can_write_is_read_back_the_same(value: dict[str, object]) -> None:
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.timeout(20)
@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_no_payload_within_the_size_holds_up_the_loop(payload: bytes) -> None:
    """Each of these took up to minutes in a form that looked right; how long they take is a benchmark."""
    with contextlib.suppress(SignalRejectedError):
        loads(payload)

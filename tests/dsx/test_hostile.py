"""Whatever comes: nothing but targets that the schema allows gets through, and nothing breaks."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice
from powerd.dsx.listener import DsxListener, ListenOptions
from powerd.dsx.traces import Traces
from powerd.signals.listener import Hooks
from tests.dsx.messages import FEEDS, TARGET, TOPIC, envelope, targets
from tests.dsx.schema import is_valid
from tests.dsx.test_listener import Stopped
from tests.signals.payloads import encoded

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["watt", "main-a", "2026-11-21T17:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(tree: object) -> list[tuple[Any, Any]]:
    """Return every container in a tree, with each of its keys or indices."""
    if not isinstance(tree, dict | list):
        return []
    keys = tree if isinstance(tree, dict) else range(len(tree))
    own = [(tree, key) for key in keys]
    return own + [place for container, key in own for place in places(container[key])]


def hear(raw: bytes) -> tuple[list[GridEvent], list[Notice]]:
    events: list[GridEvent] = []
    notices: list[Notice] = []
    hooks = Hooks(events.append, notices.append, lambda _source, _reason: None)
    options = ListenOptions(allow_unsigned=True)
    DsxListener(options, FEEDS, clock=Stopped(), traces=Traces(), hooks=hooks).on_message(TOPIC, raw, False)
    return events, notices


@settings(max_examples=1500)
@given(st.data())
def test_a_message_with_anything_in_any_place_is_refused_or_as_the_schema_wants_it(
    data: st.DataObject,
) -> None:
    message = envelope(targets(copy.deepcopy(TARGET)))
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(message)))
        if isinstance(container, dict) and data.draw(st.booleans()):
            del container[key]
        else:
            container[key] = data.draw(JSON)
    events, notices = hear(encoded(message))
    assert is_valid("LoadTargetSetEvent", message) if events else notices


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    events, notices = hear(raw)
    assert (events, len(notices)) == ([], 1)


@given(st.text(alphabet="ABCabc019-_.=", max_size=120))
def test_data_that_looks_like_a_signature_is_refused(token: str) -> None:
    events, notices = hear(json.dumps(envelope(token)).encode())
    assert (events, len(notices)) == ([], 1)

"""What a restart remembers: keys for ever, leases within one boot, and nothing from a damaged file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.leases.host_state import Key
from powerd.core.leases.leases import LeaseRules, Promise
from powerd.core.leases.memory import LeaseMemory, recall
from powerd.core.model import Now
from powerd.core.rack.timeline import Ceiling, Seen, Statement, Timeline
from powerd.core.topology import Host, Rack
from powerd.files.runtime_file import FILE_NAME, NOTHING, Remembered, encode, load, save

RACK = Rack(
    "hel1",
    "r17",
    (Host("n1", 1.0, 2_600_000), Host("n2", 0.3, 1_300_001)),
    hard_limit_mw=40_000_000,
    failsafe_mw=20_000_000,
    overhead_mw=300_000,
    guard_band_pct=1.7,
)
FORMER = replace(RACK, hosts=(Host("n1", 1.0, 2_600_000),))
LEASES = LeaseMemory(
    epoch=1_763_690_000_123,
    promises=(
        Promise("n2", 500_000, Key(1_763_690_000_123, 7), Key(1_763_689_000_000, 41), 131.25),
        Promise("n2", 300_000, Key(1_763_690_000_123, 8), Key(1_763_689_000_000, 42), 132.25),
    ),
    is_lost=True,
    wait_until_boot_s=140.5,
    rack=RACK,
    formers=(FORMER,),
)
REMEMBERED = Remembered(
    Timeline(
        {
            "a": Statement("a", 1, 7, 30_000_000, 100, 160.0, "peak", "9a1e"),
            "b": Statement("b", 2, 1, None, 5, 99.5),
        },
        {"c": Ceiling(3, 4, 9_000_000, 7300.0, "expired")},
        {
            "a": Seen(1, 7, 1763690000.0, "digest", 20_000_000),
            "b": Seen(2, 1, -1.5, "other", is_signed=True, lag_s=-1763689000.5),
        },
        {"b": Ceiling(9, 9, 8_000_000, 130.0, "unsigned")},
    ),
    28_000_000,
    LEASES,
    trim_mw=1_250_000,
)


def test_within_one_boot_everything_comes_back(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    assert load(tmp_path, "this boot") == REMEMBERED


def test_after_a_reboot_keys_the_cap_the_epoch_and_the_roster_come_back(tmp_path: Path) -> None:
    """Leases were counted on a clock that is gone, but a replay is a replay for ever."""
    save(tmp_path, REMEMBERED, "the boot before")
    seen = {source: replace(each, lag_s=None) for source, each in REMEMBERED.timeline.seen.items()}
    assert load(tmp_path, "this boot") == Remembered(
        Timeline(seen=seen),
        28_000_000,
        replace(LEASES, promises=(), wait_until_boot_s=0.0),
        of_this_boot=False,
        trim_mw=1_250_000,
    )


def test_without_a_file_nothing_is_remembered(tmp_path: Path) -> None:
    assert load(tmp_path, "this boot") == NOTHING


@pytest.mark.parametrize(
    ("boot", "is_lost", "promises"), [("this boot", False, LEASES.promises), ("the boot before", True, ())]
)
def test_a_host_that_starts_again_knows_what_it_has_lent_or_waits(
    tmp_path: Path, boot: str, is_lost: bool, promises: tuple[Promise, ...]
) -> None:
    save(tmp_path, replace(REMEMBERED, leases=replace(LEASES, is_lost=False)), boot)
    back = load(tmp_path, "this boot")
    # A wall clock that was set back gives no epoch that was used.
    leases = recall(back.leases, RACK, LeaseRules(), Now(120.0, 0.0), of_this_boot=back.of_this_boot)
    assert (leases.is_lost, leases.promises, leases.formers) == (is_lost, promises, (FORMER,))
    assert leases.epoch > LEASES.epoch


def test_a_host_that_starts_under_another_roster_knows_the_former_ones(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    other = replace(RACK, hosts=(Host("n1", 1.0, 2_600_000), Host("n2", 0.4, 1_300_001)))
    leases = recall(load(tmp_path, "this boot").leases, other, LeaseRules(), Now(120.0, 0.0))
    assert leases.formers == (RACK, FORMER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 2}',
        '{"version": 3}',
        '{"version": 4}',
        '{"version": true}',
        '{"version": 1, "seen": 3}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_error_and_never_half_a_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        load(tmp_path, "this boot")


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\x80\x00")
    with pytest.raises(ValueError, match=r".+"):
        load(tmp_path, "this boot")


def test_a_file_of_a_newer_powerd_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(encode(REMEMBERED, "this boot").replace('"version":4', '"version":5'))
    with pytest.raises(ValueError, match=r"^version 5 is not 4$"):
        load(tmp_path, "this boot")


def test_a_file_that_was_cut_short_anywhere_is_an_error(tmp_path: Path) -> None:
    whole = encode(REMEMBERED, "this boot")
    for length in range(len(whole)):
        (tmp_path / FILE_NAME).write_text(whole[:length])
        with pytest.raises(ValueError, match=r".+"):
            load(tmp_path, "this boot")


def places(content: object, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to everything in a JSON document."""
    entries = content.items() if isinstance(content, dict) else enumerate(content)  # type: ignore[arg-type]
    for key, value in entries:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from places(value, *above, key)


PLACES = list(places(json.loads(encode(REMEMBERED, "this boot"))))


def changed(place: tuple[str | int, ...], value: object) -> str:
    content = json.loads(encode(REMEMBERED, "this boot"))
    at: Any = content
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    "odd",
    [{"odd": 0}, [[]], -(10**30), 10**30, float("nan"), float("inf"), float("-inf")],
    ids=["object", "array", "low", "high", "nan", "inf", "-inf"],
)
def test_nothing_in_the_file_may_be_of_another_type_or_beyond_all_bounds(tmp_path: Path, odd: object) -> None:
    """A start that survives loading must not fail later, over a number too large to compute with."""
    assert len(PLACES) > 80
    for place in PLACES:
        (tmp_path / FILE_NAME).write_text(changed(place, odd))
        with pytest.raises(ValueError, match=r".+"):
            load(tmp_path, "this boot")


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (("cap_mw",), -1, r"file\.cap_mw is -1: out of range"),
        (("cap_mw",), 1.5, r"file\.cap_mw is 1\.5: int expected"),
        (("cap_mw",), True, r"file\.cap_mw is True: int expected"),
        (("leases", "is_lost"), 1, r"file\.leases\.is_lost is 1: bool expected"),
        (("leases", "epoch"), None, r"file\.leases\.epoch is None: int expected"),
        (("leases", "promises", 0, 4), "soon", r"file\.leases\.promises\[0\]\.end_boot_s is 'soon': float"),
        (("leases", "promises", 1, 2), [1], r"file\.leases\.promises\[1\]\.key has 1 entries, not 2"),
        (("leases", "rack", "hosts"), [], r"rack\.hosts is empty"),
        (("leases", "rack", "failsafe_mw"), 4_000_000, r"rack\.failsafe_watts 4000 is infeasible"),
        (("leases", "owner"), "me", r"file\.leases: missing or unknown: 'owner'"),
        (("statements", "a", "source"), "b", r"statements\.a is not of a source in seen"),
        (("seen",), {}, r"statements\.a is not of a source in seen"),
    ],
)
def test_an_error_names_the_place(
    tmp_path: Path, place: tuple[str | int, ...], value: object, why: str
) -> None:
    (tmp_path / FILE_NAME).write_text(changed(place, value))
    with pytest.raises(ValueError, match=why):
        load(tmp_path, "this boot")


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    """Which of the two counts is anybody's guess."""
    text = encode(REMEMBERED, "this boot").replace('"is_lost":true', '"is_lost":true,"is_lost":false')
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match="a key is there twice"):
        load(tmp_path, "this boot")


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    with pytest.raises(OSError, match="No such file"):
        save(tmp_path / "missing", NOTHING, "this boot")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load(tmp_path, "this boot") == REMEMBERED


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Else whoever may write here could have the daemon overwrite another file."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"{FILE_NAME}.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        save(tmp_path, REMEMBERED, "this boot")
    assert victim.read_text() == "precious"
    save(tmp_path, REMEMBERED, "this boot")  # the link is out of the way now
    assert load(tmp_path, "this boot") == REMEMBERED

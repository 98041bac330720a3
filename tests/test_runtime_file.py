"""What a restart remembers: keys for ever, leases within one boot, and nothing from a damaged file."""

from pathlib import Path

import pytest

from powerd.core.timeline import Ceiling, Seen, Statement, Timeline
from powerd.runtime_file import FILE_NAME, NOTHING, Remembered, load, save

REMEMBERED = Remembered(
    Timeline(
        {
            "a": Statement("a", 1, 7, 30_000_000, 100, 160.0, "peak", "9a1e"),
            "b": Statement("b", 2, 1, None, 5, 99.5),
        },
        {"c": Ceiling(3, 4, 9_000_000, 7300.0, "expired")},
        {"a": Seen(1, 7, 1763690000.0, "digest", 20_000_000), "b": Seen(2, 1, 1763690001.5, "other")},
    ),
    28_000_000,
)


def test_within_one_boot_everything_comes_back(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    assert load(tmp_path, "this boot") == REMEMBERED


def test_after_a_reboot_only_keys_and_the_cap_come_back(tmp_path: Path) -> None:
    """Leases were counted on a clock that is gone, but a replay is a replay for ever."""
    save(tmp_path, REMEMBERED, "the boot before")
    assert load(tmp_path, "this boot") == Remembered(Timeline(seen=REMEMBERED.timeline.seen), 28_000_000)


def test_without_a_file_nothing_is_remembered(tmp_path: Path) -> None:
    assert load(tmp_path, "this boot") == NOTHING


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 2}', '{"version": 1, "seen": 3}']
)
def test_a_damaged_file_is_an_error_and_never_half_a_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        load(tmp_path, "this boot")


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    save(tmp_path, REMEMBERED, "this boot")
    with pytest.raises(OSError, match="No such file"):
        save(tmp_path / "missing", NOTHING, "this boot")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load(tmp_path, "this boot") == REMEMBERED

"""The first half of the targets, each searched for some seconds, with the same inputs each time."""

from collections.abc import Iterator

import pytest

from tests.fuzz.brief import FIRST, check, searcher
from tests.fuzz.registry import TARGETS
from tests.fuzz.run import Searcher

# Seconds where nothing else runs; a machine that is busy may take its time.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher | None]:
    with searcher(FIRST, tmp_path_factory.mktemp("fuzz")) as found:
        yield found


@pytest.mark.parametrize("name", FIRST)
def test_a_short_search_finds_nothing(name: str, by: Searcher | None) -> None:
    check(TARGETS[name], by)

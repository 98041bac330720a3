"""Every input of the corpus keeps its promise: what a search has found once stays found."""

from pathlib import Path

import pytest

from tests.fuzz.registry import CORPUS, TARGETS, Target

INPUTS = [(target, seed) for target in TARGETS.values() for seed in sorted(target.corpus.iterdir())]


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{t.name}-{p.name}" for t, p in INPUTS])
def test_no_input_of_the_corpus_violates_its_oracle(target: Target, path: Path) -> None:
    target.load()(path.read_bytes())


def test_every_target_has_seeds_and_every_directory_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert all(target.seeds() for target in TARGETS.values())

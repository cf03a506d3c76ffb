"""What is said of solids: numbers and words that grow with their sizes, and sentences that differ where they do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.families import KINDS, SIZES, STEPPED, Described, solids
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.shapes.sentences import PAIRS, PARTS, described
from pdiff_plugins.fields.shapes.space import Shapes3d

NUMBERS = ("width", "depth", "height", "thickness", "handle")


def generator():
    return torch.Generator().manual_seed(0)


def rank(text, pair):
    """Return -2 to 2: where a sentence puts a size that these are the words for."""
    less, more = pair
    for word, sign in ((less, -1), (more, 1)):
        if word in text.split():
            return sign * (2 if f"very {word}" in text else 1)
    return 0


@given(
    st.sampled_from([(kind, name) for kind in KINDS for name in STEPPED[kind]]),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=60)
def test_words_grow_with_the_size_that_they_are_about(which, ends):
    (kind, name), (less, more) = which, sorted(ends)
    pair = PAIRS[kind].get(name) or PARTS[kind][2]
    middle = dict.fromkeys(STEPPED[kind], 0.5)
    ranks = [rank(described(kind, middle | {name: share})[0].replace(",", ""), pair) for share in (less, more)]
    assert -2 <= ranks[0] <= ranks[1] <= 2
    assert [rank(described(kind, middle | {name: share})[0], pair) for share in (0, 1)] == [-2, 2]
    sizes = {size: sum(ends) / 2 for size, ends in SIZES[kind].items()}
    low, high = SIZES[kind][name]
    small, large = (Described(kind, sizes | {name: low + (high - low) * share}).numbers() for share in (less, more))
    assert all(small[number] <= large[number] for number in NUMBERS)
    assert (small != large) == (low + (high - low) * less < low + (high - low) * more)


def test_sentences_read_as_english():
    text, wordings = described("table", {"width": 0.7, "depth": 0.5, "height": 0.3, "legs": 0.9})
    assert text == "a wide, low table with very thick legs"
    assert wordings == [
        "a low wide table with very thick legs",
        "a table that is wide and low, with very thick legs",
        "a broad, short desk with really stout legs",
        "table, wide, low, very thick legs",
        "make me a wide and low table that has very thick legs",
        "a desk, short and broad, with really stout legs",
    ]
    assert described("mug", {"width": 0.3, "height": 0.7, "handle": 0.7})[0] == "a narrow, tall mug with a big handle"
    assert described("ring", {"width": 0.5, "thickness": 0.3})[0] == "a thin ring"


def test_a_description_has_the_same_numbers_for_every_family():
    _, told = solids(30, generator())
    abouts = [one.about(0) for one in told]
    assert [about["label"] for about in abouts] == list(KINDS) * 10
    for about in abouts:
        assert set(about) == {"label", "kind", "text", "wordings", *NUMBERS}
        assert len(about["wordings"]) == 6 and about["kind"] in about["text"]
        assert (about["handle"] > 0) == (about["kind"] == "mug")


def test_numbers_are_the_sides_of_the_box():
    shapes, told = solids(6, generator(), turn=False)
    points = grid(60, 3)
    for solid, one in zip(shapes, told, strict=True):
        inside = points[solid(points) < 0]
        sides, numbers = inside.amax(dim=0) - inside.amin(dim=0), one.numbers()
        expected = torch.tensor([numbers["width"], numbers["depth"], numbers["height"]])
        among = slice(1, 3) if one.kind == "mug" else slice(0, 3)  # a mug's handle reaches beyond its width
        assert (sides - expected)[among].abs().max() < 0.07
    assert sides[0] > expected[0] + 0.1


@pytest.mark.parametrize(("levels", "total"), [(2, 16 + 4 + 8), (3, 81 + 9 + 27), (5, 625 + 25 + 125)])
def test_in_steps_each_shape_has_a_sentence_of_its_own(levels, total):
    _, told = solids(total, generator(), levels, turn=False)
    texts = [one.about(levels)["text"] for one in told]
    assert len(set(texts)) == total
    assert [one.kind for one in told[:6]] == list(KINDS) * 2
    with pytest.raises(UserError, match=rf"dataset.count: with levels = {levels} there are {total} shapes, fewer"):
        solids(total + 1, generator(), levels)


def test_the_words_determine_a_shape_that_is_not_turned():
    first, other = (
        Shapes3d(count=117, levels=3, turned=False, test_count=0, resolution=8, near=0).load(Context(seed=seed)).train
        for seed in (0, 1)
    )
    of_first = {about["text"]: number for number, about in enumerate(first.abouts)}
    same = [of_first[about["text"]] for about in other.abouts]
    assert same != list(range(117)) and torch.equal(first.targets[:, same], other.targets)


def test_every_split_has_all_shapes_at_points_of_its_own():
    data = Shapes3d(count=6, test_count=0, resolution=8, near=16).load(Context(seed=0))
    splits = (data.train, data.validation, data.test)
    assert [split.targets.shape[1] for split in splits] == [6] * 3
    assert [len(split) for split in (data.train, data.test)] == [8**3, 7**3]
    points = torch.cat([split.inputs for split in splits])
    assert len(points.unique(dim=0)) == len(points)
    assert all(split.abouts == data.train.abouts for split in splits)


def test_splits_of_other_shapes_describe_their_own():
    data = Shapes3d(count=12, test_count=3, resolution=8, near=0).load(Context(seed=0))
    for split in (data.train, data.validation, data.test):
        assert [KINDS.index(about["kind"]) for about in split.abouts] == split.labels.tolist()


def test_options_that_came_later_change_no_stored_result():
    assert not {"turned", "levels"} & set(Shapes3d().identity())

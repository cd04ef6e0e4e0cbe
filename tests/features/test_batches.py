from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.data import EMOTIONS, Batch, Corpus, DataError, Utterance, Word, pad
from mmer_lib.features.batches import Examples, LengthBuckets, loader
from mmer_lib.features.extract import Features

# (words, phonemes a word, frames) of five utterances; audio and vision have their own lengths
SIZES = ((3, 4, 9), (1, 2, 30), (5, 6, 1), (2, 1, 12), (4, 3, 7))
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=90)


def corpus(**changes):
    """With an order of classes of its own; `changes` are of its second utterance."""
    us = [
        Utterance(f"u{i}", f"s{i}", "one", "said", emotion=EMOTIONS[i % 4], sentiment=i - 2.5)
        for i in range(len(SIZES))
    ]
    us[1] = replace(us[1], **changes)
    return Corpus("tiny", "k", tuple(us), emotions=EMOTIONS[::-1])


def everything():
    rng = np.random.default_rng(0)

    def floats(*shape):
        return (rng.normal(size=shape) + 5).astype("f4")  # never zero

    return Features(
        frames=[floats(t, 128) for _, _, t in SIZES],
        words=[floats(w, 6) for w, _, _ in SIZES],
        known=[np.arange(w) != 1 for w, _, _ in SIZES],
        phonemes=[rng.integers(1, 9, (w, p)) for w, p, _ in SIZES],
        audio=[floats(w + 2, 3) for w, _, _ in SIZES],
        vision=[floats(6 - w, 2) for w, _, _ in SIZES],
        cls=[floats(7) for _ in SIZES],
        subwords=[rng.integers(1, 99, w + 2) for w, _, _ in SIZES],
        sound=[floats(100 * t) for _, _, t in SIZES],
    )


MASKS = {
    "words": "word_mask",
    "known": "word_mask",
    "phonemes": "word_mask",
    "frames": "frame_mask",
    "audio": "audio_mask",
    "vision": "vision_mask",
    "subwords": "subword_mask",
    "sound": "sound_mask",
}


def spoken(*timed):
    """The corpus; the utterances at the positions in `timed` have word times."""
    us = list(corpus().utterances)
    for i in timed:
        words = tuple(Word("w", k / 2, k / 2 + 0.3) for k in range(SIZES[i][0]))
        us[i] = replace(us[i], words=words)
    return replace(corpus(), utterances=tuple(us))


# ---------------------------------------------------------------------------------------- pad


@given(
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=5),
    axes=st.integers(1, 2),
    kind=st.sampled_from(["f4", "f8", "i8", "?"]),
)
@settings(max_examples=80, deadline=None)
def test_pad_agrees_with_the_naive_one(shapes, axes, kind):
    rng = np.random.default_rng(0)
    items = [(rng.normal(size=shape[:axes]) * 9).astype(kind) for shape in shapes]
    padded, mask = pad(items)
    longest = [max(1, *(item.shape[a] for item in items), 1) for a in range(axes)]
    assert padded.shape == (len(items), *longest) and mask.shape == (len(items), longest[0])
    assert padded.numpy().dtype == items[0].dtype and mask.dtype == torch.bool
    for row, item in enumerate(items):
        for at in np.ndindex(*longest):
            inside = all(k < n for k, n in zip(at, item.shape, strict=True))
            assert padded[(row, *at)].item() == (item[at] if inside else 0)
        assert mask[row].tolist() == [k >= len(item) for k in range(longest[0])]


# ------------------------------------------------------------------------------------ collate


def test_a_batch_holds_every_part_of_the_rows_that_were_asked_for():
    f, rows = everything(), [4, 1, 2]
    batch = Examples(corpus(), f, range(5)).collate(rows)
    assert len(batch) == 3 and batch.index.tolist() == rows
    for name, mask_name in MASKS.items():
        value, mask = getattr(batch, name), getattr(batch, mask_name)
        assert value.shape[:2] == mask.shape
        for i, row in enumerate(rows):
            item = getattr(f, name)[row]
            assert (~mask[i]).tolist() == [k < len(item) for k in range(mask.shape[1])]
            inside = value[(i, *map(slice, item.shape))]
            np.testing.assert_array_equal(inside, item)
            assert value[i].count_nonzero() == np.count_nonzero(item)  # else nothing but zeros
    assert batch.cls.tolist() == [f.cls[row].tolist() for row in rows]
    assert batch.emotion.tolist() == [3 - row % 4 for row in rows]
    assert batch.sentiment.tolist() == [row - 2.5 for row in rows]


def test_what_the_features_lack_is_none_also_on_a_device():
    lacking = ("words", "known", "vision", "sound", "subwords")
    f = replace(everything(), **dict.fromkeys(lacking))
    batch = Examples(corpus(emotion=None, sentiment=None), f, range(5)).collate([0, 1])
    assert batch.word_mask.tolist() == [[False] * 3, [False, True, True]]  # of the phonemes
    for one in (batch, moved := batch.to("meta")):
        masks = ("vision_mask", "sound_mask", "subword_mask", "emotion", "sentiment")
        there = {field.name for field in fields(Batch) if getattr(one, field.name) is not None}
        assert there == {field.name for field in fields(Batch)} - {*lacking, *masks}
    assert moved.frames.device.type == "meta" and batch.frames.device.type == "cpu"
    assert len(moved) == 2


# ------------------------------------------------------------------------- word times, classes


def test_word_times_stand_with_their_words_and_are_nan_elsewhere():
    batch = Examples(spoken(0, 1), everything(), range(5)).collate([1, 0, 2])
    assert batch.word_times.shape == (3, 5, 2)
    expected = np.array([[0, 0.3], [0.5, 0.8], [1, 1.3]], "f4")
    np.testing.assert_array_equal(batch.word_times[0, :1], expected[:1])
    np.testing.assert_array_equal(batch.word_times[1, :3], expected)
    assert batch.word_times[0, 1:].isnan().all() and batch.word_times[1, 3:].isnan().all()
    assert batch.word_times[2].isnan().all() and not batch.word_mask[2].any()
    f = Features(words=[np.zeros((0, 6), "f4")] * 2, known=[np.zeros(0, bool)] * 2)
    batch = Examples(corpus(words=()), f, [1]).collate([1])
    assert batch.word_times.shape == (1, 1, 2) and batch.word_times.isnan().all()
    assert batch.word_mask.tolist() == [[True]]


@pytest.mark.parametrize(
    ("parts", "lengths"),
    [
        (("sound", "frames", "words"), [1200, 900]),
        (("frames", "words", "subwords"), [12, 9]),
        (("words", "subwords", "vision"), [2, 3]),
        (("subwords", "cls"), [4, 5]),
        (("cls",), [1, 1]),
    ],
)
def test_the_length_of_an_example_is_that_of_its_sound_else_of_its_text(parts, lengths):
    f = everything()
    examples = Examples(corpus(), Features(**{p: getattr(f, p) for p in parts}), (3, 0))
    assert examples.lengths() == lengths


# ------------------------------------------------------------------------------------ buckets


@given(
    lengths=LENGTHS,
    size=st.integers(1, 9),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_item_comes_exactly_once_an_epoch(lengths, size, shuffle, seed):
    buckets = LengthBuckets(lengths, size, shuffle, seed)
    for _ in range(2):
        batches = list(buckets)
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
        assert len(batches) == len(buckets) == -(-len(lengths) // size)
        assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
        assert all(type(i) is int for batch in batches for i in batch)


def test_a_seed_decides_the_order_of_every_epoch_and_nothing_else_does():
    def epochs(seed):
        buckets = LengthBuckets(list(range(200)), 4, shuffle=True, seed=seed)
        return [list(buckets) for _ in range(3)]

    before = torch.random.get_rng_state()
    first, second, _ = epochs(1)
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}
    np.random.seed(1)  # noqa: NPY002
    assert epochs(1) == epochs(1) != epochs(2)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shuffle", [True, False])
def test_there_is_much_less_padding_than_in_file_order(shuffle):
    lengths = np.random.default_rng(0).integers(5, 400, 300)

    def padding(batches):
        return sum(len(b) * lengths[b].max() - lengths[b].sum() for b in batches)

    file_order = [np.arange(i, min(i + 8, 300)) for i in range(0, 300, 8)]
    assert padding(LengthBuckets(lengths, 8, shuffle)) < 0.3 * padding(file_order)


# ------------------------------------------------------------------------------------- loader


def test_a_loader_gives_batches_of_the_chosen_rows_and_says_where_there_are_none():
    batches = list(loader(Examples(corpus(), everything(), [4, 2, 0]), 2, shuffle=True))
    assert sorted(i for b in batches for i in b.index.tolist()) == [0, 2, 4]
    with pytest.raises(DataError, match=r"tiny.*no utterances"):
        loader(Examples(corpus(), everything(), []), 4, shuffle=True)

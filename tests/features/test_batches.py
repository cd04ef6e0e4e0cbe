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


def utterance(i, **labels):
    labels = {"emotion": EMOTIONS[i % 4], "sentiment": i - 2.5} | labels
    return Utterance(f"u{i}", f"s{i}", "one", "said", **labels)


def corpus(**labels):
    return Corpus("tiny", "k", tuple(utterance(i, **labels) for i in range(len(SIZES))))


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
    assert batch.emotion.tolist() == [row % 4 for row in rows]
    assert batch.sentiment.tolist() == [row - 2.5 for row in rows]


@pytest.mark.parametrize("lacking", ["cls", *(n for n in MASKS if n != "known")])
def test_a_part_that_the_features_lack_is_none(lacking):
    f = replace(everything(), **{lacking: None}, **({"known": None} if lacking == "words" else {}))
    batch = Examples(corpus(), f, range(5)).collate([0, 1])
    assert getattr(batch, lacking) is None
    assert (batch.known is None) is (lacking == "words")
    assert batch.word_mask.tolist() == [[False] * 3, [False, True, True]]
    for part, mask in (("frames", "frame"), ("subwords", "subword"), ("sound", "sound")):
        assert (getattr(batch, f"{mask}_mask") is None) is (lacking == part)


# ------------------------------------------------------------------------- word times, classes


def test_word_times_stand_with_their_words_and_are_nan_elsewhere():
    batch = Examples(spoken(0, 1), everything(), range(5)).collate([1, 0, 2])
    assert batch.word_times.shape == (3, 5, 2)
    expected = np.array([[0, 0.3], [0.5, 0.8], [1, 1.3]], "f4")
    np.testing.assert_array_equal(batch.word_times[0, :1], expected[:1])
    np.testing.assert_array_equal(batch.word_times[1, :3], expected)
    assert batch.word_times[0, 1:].isnan().all() and batch.word_times[1, 3:].isnan().all()
    assert batch.word_times[2].isnan().all() and not batch.word_mask[2].any()


def test_an_utterance_without_words_has_one_padded_word_and_no_times():
    us = (replace(utterance(0), words=()),)
    f = Features(words=[np.zeros((0, 6), "f4")], known=[np.zeros(0, bool)])
    batch = Examples(replace(corpus(), utterances=us), f, [0]).collate([0])
    assert batch.word_times.shape == (1, 1, 2) and batch.word_times.isnan().all()
    assert batch.word_mask.tolist() == [[True]]


def test_a_corpus_with_classes_of_its_own_decides_their_numbers():
    us = tuple(
        utterance(i, emotion=e) for i, e in enumerate(["calm", "joy", "calm", "fear", "joy"])
    )
    own = Corpus("tiny", "k", us, emotions=("joy", "fear", "calm"))
    batch = Examples(own, everything(), range(5)).collate([0, 1, 3])
    assert batch.emotion.tolist() == [2, 0, 1]


@pytest.mark.parametrize("label", ["emotion", "sentiment"])
def test_a_label_that_one_utterance_lacks_is_none(label):
    us = list(corpus().utterances)
    us[1] = replace(us[1], **{label: None})
    examples = Examples(replace(corpus(), utterances=tuple(us)), everything(), range(5))
    other = {"emotion": "sentiment", "sentiment": "emotion"}[label]
    with_gap, whole = examples.collate([0, 1]), examples.collate([0, 2])
    assert getattr(with_gap, label) is None and getattr(with_gap, other) is not None
    assert getattr(whole, label) is not None


@pytest.mark.parametrize(
    ("parts", "lengths"),
    [
        (("sound", "frames", "words"), [1200, 900]),
        (("frames", "words", "subwords"), [12, 9]),
        (("words", "subwords", "vision"), [2, 3]),
        (("phonemes", "subwords", "cls"), [2, 3]),
        (("subwords", "cls"), [4, 5]),
        (("cls",), [1, 1]),
        (("audio",), [1, 1]),
        ((), [1, 1]),
    ],
)
def test_the_length_of_an_example_is_that_of_its_sound_else_of_its_text(parts, lengths):
    f = everything()
    examples = Examples(corpus(), Features(**{p: getattr(f, p) for p in parts}), (3, 0))
    assert examples.lengths() == lengths


def test_to_moves_what_is_there_and_keeps_none():
    f = replace(everything(), vision=None)
    batch = Examples(corpus(emotion=None), f, range(5)).collate([0, 1])
    assert None not in (batch.cls, batch.subwords, batch.sound_mask, batch.word_times)
    moved = batch.to("meta")
    for one in fields(Batch):
        before, after = getattr(batch, one.name), getattr(moved, one.name)
        assert (before is None) == (after is None)
        assert after is None or (after.device.type == "meta" and before.device.type == "cpu")
    assert moved.vision is None and moved.vision_mask is None and moved.emotion is None
    assert len(moved) == 2


# ------------------------------------------------------------------------------------ buckets


@given(
    lengths=LENGTHS,
    size=st.integers(1, 9),
    group=st.integers(1, 4),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_item_comes_exactly_once_an_epoch(lengths, size, group, shuffle, seed):
    buckets = LengthBuckets(lengths, size, shuffle, seed, group)
    for _ in range(2):
        batches = list(buckets)
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
        assert len(batches) == len(buckets) == -(-len(lengths) // size)
        assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
        assert all(type(i) is int for batch in batches for i in batch)


def test_the_next_epoch_has_another_order_and_other_batches():
    buckets = LengthBuckets(list(range(40)), 4, shuffle=True, group=3)
    first, second = list(buckets), list(buckets)
    assert first != second
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}


def test_a_seed_decides_the_order_of_every_epoch():
    def epochs(seed):
        buckets = LengthBuckets([7, 3, 9] * 10, 4, shuffle=True, seed=seed, group=2)
        return [list(buckets) for _ in range(3)]

    assert epochs(1) == epochs(1) != epochs(2)


def test_the_global_random_state_is_neither_read_nor_moved():
    orders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
        orders.append(list(LengthBuckets([1, 2, 3] * 9, 4, shuffle=True)))
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert orders[0] == orders[1]


def padding(batches, lengths):
    return sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)


@given(seed=st.integers(0, 1000), shuffle=st.booleans())
@settings(max_examples=20, deadline=None)
def test_there_is_much_less_padding_than_in_file_order(seed, shuffle):
    lengths = np.random.default_rng(seed).integers(5, 400, 300).tolist()
    file_order = [range(i, min(i + 8, 300)) for i in range(0, 300, 8)]
    buckets = LengthBuckets(lengths, 8, shuffle, seed)
    assert padding(buckets, lengths) < 0.3 * padding(file_order, lengths)


# ------------------------------------------------------------------------------------- loader


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_gives_batches_of_the_chosen_rows(shuffle):
    rows = [4, 2, 0]
    batches = list(loader(Examples(corpus(), everything(), rows), 2, shuffle))
    assert [len(b) for b in batches] in ([2, 1], [1, 2])
    assert sorted(i for b in batches for i in b.index.tolist()) == [0, 2, 4]
    for b in batches:
        assert b.emotion.tolist() == [i % 4 for i in b.index.tolist()]


def test_a_loader_without_examples_says_so():
    with pytest.raises(DataError, match=r"tiny.*no utterances"):
        loader(Examples(corpus(), everything(), []), 4, shuffle=True)

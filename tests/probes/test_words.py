"""Words by themselves (`mmer_lib.probes.words`), and the probes of the chapters about them."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mmer_lib.data import Corpus, Utterance, Word
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features
from mmer_lib.models.layers import ConvPreNet
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.probes.attention import influence
from mmer_lib.probes.words import (
    cosine_matrix,
    lexicon_of,
    matrix_correlations,
    phoneme_windows,
    sound_distances,
)

SENTENCES = ("what a day", "a day", "day what flurb day")
SPELLED = {"what": [3, 9, 4], "a": [7], "day": [11, 5], "flurb": [8, 2, 6, 1]}
VECTORS = {w: np.full(6, i + 1.0, "f4") for i, w in enumerate(SPELLED)}


@pytest.fixture
def muse():
    torch.manual_seed(0)
    return Muse(MuseConfig(words=6, bands=7, width=8, heads=2, hidden=8, filters=3)).eval()


@pytest.fixture
def examples():
    split = [s.split() for s in SENTENCES]
    timed = [tuple(Word(w, k, k + 1) for k, w in enumerate(ws)) for ws in split]
    us = tuple(Utterance(f"u{i}", "p", "s", SENTENCES[i], timed[i]) for i in range(3))
    longest = [max(len(SPELLED[w]) for w in ws) for ws in split]
    features = Features(
        phonemes=[
            np.array([SPELLED[w] + [0] * (n - len(SPELLED[w])) for w in ws])
            for ws, n in zip(split, longest, strict=True)
        ],
        words=[np.stack([VECTORS[w] for w in ws]) for ws in split],
        known=[np.array([w != "flurb" for w in ws]) for ws in split],
    )
    return Examples(Corpus("mine", "k", us), features, [0, 1, 2])


def test_the_lexicon_has_every_word_once_with_its_features(examples):
    lexicon = lexicon_of(examples)
    assert lexicon.words.tolist() == ["a", "day", "flurb", "what"]
    assert lexicon.known.tolist() == [True, True, False, True]
    for i, word in enumerate(lexicon.words):
        assert [p for p in lexicon.phonemes[i].tolist() if p] == SPELLED[word]
        np.testing.assert_array_equal(lexicon.vectors[i], VECTORS[word])
    assert lexicon.rows(["what", "a", "what"]).tolist() == [3, 0, 3]


@torch.inference_mode()
def test_the_lexicon_gives_each_word_what_it_gets_in_its_sentence(examples, muse):
    lexicon = lexicon_of(examples)
    alone = muse.fusion(lexicon.batch())[0]
    for row, sentence in enumerate(SENTENCES):
        together = muse.fusion(examples.collate([row]))[0]
        torch.testing.assert_close(together, alone[lexicon.rows(sentence.split())])


@torch.inference_mode()
def test_the_largest_window_of_each_filter_is_the_phoneme_vector(examples, muse):
    cnn, phonemes = muse.fusion.phonemes, lexicon_of(examples).phonemes
    windows = phoneme_windows(cnn, phonemes)
    assert [w.shape for w in windows] == [(4, 3, 4)] * 3
    found = np.concatenate([w.max(2) for w in windows], axis=1)
    np.testing.assert_allclose(found, cnn(phonemes[None])[0].numpy(), atol=1e-6)


def test_windows_by_hand(examples, muse):
    cnn, phonemes = muse.fusion.phonemes, lexicon_of(examples).phonemes
    windows = phoneme_windows(cnn, phonemes)
    table = cnn.embedding.weight.detach().numpy()
    for layer, answers in zip(cnn.convolutions, windows, strict=True):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        for v, f, p in itertools.product(range(4), range(3), range(4)):
            ids = [*phonemes[v].tolist(), 0, 0, 0][p : p + layer.kernel_size[0]]
            answer = bias[f] + sum(weight[f, :, k] @ table[i] for k, i in enumerate(ids) if i)
            expected = max(answer, 0) if phonemes[v, p] else 0
            assert answers[v, f, p] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_influence_ends_where_the_kernels_end(kernel):
    torch.manual_seed(0)
    layer = ConvPreNet(4, 6, kernel, 0.5, layers=2).eval()
    mask = torch.zeros(1, 13, dtype=torch.bool)
    changes = influence(lambda x: layer(x, mask), torch.randn(1, 13, 4))
    far = np.abs(np.subtract.outer(np.arange(13), np.arange(13)))
    assert changes.shape == (13, 13)
    reach = 2 * (kernel // 2)
    assert not (changes[far > reach] > 1e-6).any()
    assert changes[far == reach].max() > 1e-3


def test_sound_distances_are_shares_of_the_longer_word(examples):
    lexicon = lexicon_of(examples)  # a: 7, day: 11 5, flurb: 8 2 6 1, what: 3 9 4
    found = sound_distances(lexicon.phonemes)
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any() and (found[~np.eye(4, dtype=bool)] == 1).all()
    near = sound_distances(torch.tensor([[1, 2, 3, 0], [1, 3, 0, 0], [1, 2, 4, 5], [0, 0, 0, 0]]))
    assert near[0].tolist() == pytest.approx([0, 1 / 3, 1 / 2, 1])


def test_cosines():
    a, b = np.array([[1.0, 0], [3, 3]]), np.array([[0, 2.0], [1, 0], [-1, 0]])
    root = np.sqrt(0.5)
    np.testing.assert_allclose(cosine_matrix(a, b), [[0, 1, -1], [root, root, -root]])
    np.testing.assert_allclose(cosine_matrix(a), [[1, root], [root, 1]])


def symmetric(seed, n=12):
    x = np.random.default_rng(seed).uniform(size=(n, n))
    return x + x.T - np.diag(2 * x.diagonal())


def test_matrix_correlations_are_spearmans_over_pairs_of_different_things():
    a, b = symmetric(0), symmetric(1)
    pairs = np.triu_indices(12, 1)
    found = matrix_correlations(a, b, draws=20)
    assert found.shape == (21,)
    assert found[0] == pytest.approx(spearmanr(a[pairs], b[pairs]).statistic)
    np.testing.assert_array_equal(found, matrix_correlations(a + 5 * np.eye(12), b, 20))
    np.testing.assert_allclose(matrix_correlations(a, np.exp(a), 20), 1)

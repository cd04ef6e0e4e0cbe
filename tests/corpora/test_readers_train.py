"""What the readers give goes all the way: features and a training of a second."""

import numpy as np
import pytest

from mmer_lib.corpora import own
from mmer_lib.features.extract import extract
from mmer_lib.training import fit as training
from mmer_lib.training.runs import truth_of
from tests.corpora import fake_iemocap
from tests.corpora.fake_own import arrays, rows_of
from tests.tiny import SMALL

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings(
        "ignore:no part-of-speech tagger",
        "ignore:.*class without a training utterance",
    ),
]


def trained(corpus, out, **options):
    """A tiny run of MUSE; its logits fit the classes and are finite."""
    small = {"device": "cpu", "progress": False, "max_epochs": 2, **SMALL["muse"], **options}
    run = training.fit("muse", corpus, out=out, **small)
    test = corpus.splits(0).test
    rows, logits = run.predict(training.examples_for(run, corpus, test))
    assert sorted(rows) == test and logits.shape == (len(test), len(corpus.emotions))
    assert logits.isfinite().all() and truth_of(corpus, rows, "emotion").shape == (len(test),)
    assert run.result["data"] == corpus.name and run.result["data_key"] == corpus.key
    return run


def test_iemocap_trains_with_utterances_without_words_or_times(release, tmp_path):
    for line in release.used[:10]:
        release.alignment(line).unlink()
    corpus, _ = fake_iemocap.load(release)
    assert any(u.words == () for u in corpus.utterances)
    assert any(u.words is None for u in corpus.utterances)
    trained(corpus, tmp_path / "runs")


@pytest.mark.parametrize("missing", [2, 3])
def test_parts_that_lack_classes_train_and_score(tmp_path, missing):
    """`own` warns of the classes that the training part lacks; UA is the mean over those that a
    part has."""
    if missing == 2:
        split = [{"sad": "dev", "happy": "test"}.get(row[2], "train") for row in rows_of(16)]
    else:
        split = ["train"] * 4 + ["dev"] * 6 + ["test"] * 6
    with pytest.warns(UserWarning, match=f"class without a training utterance: {missing}"):
        corpus = own.from_arrays(**arrays(split=split, speaker=split))
    run = trained(corpus, tmp_path / "runs")
    assert all(np.isfinite(value) for value in run.result["test"].values())
    if missing == 2:
        assert run.result["sizes"] == {"train": 8, "dev": 4, "test": 4}
        assert run.result["test"]["wa"] == run.result["test"]["ua"]


@pytest.fixture
def framed():
    """Frames and word times in place of sound, and classes of one's own."""
    rng = np.random.default_rng(0)
    frames = [rng.normal(1, 2, (5 + 7 * i, 40)) for i in range(24)]
    words = [[("word", 0.0, 0.1), ("said", 0.1, 0.2)]] * 24
    more = {"labels": ("calm", "tense", "bored"), "waveforms": None, "rate": None}
    return own.from_arrays(**arrays(24, frames=frames, words=words, **more))


def test_frames_of_a_corpus_are_read_in_place_of_computed_ones(framed):
    features = extract(framed, parts=("speech",), progress=False, normalisation="none")
    assert features.sizes["speech"] == 40
    for found, u in zip(features.frames, framed.utterances, strict=True):
        np.testing.assert_array_equal(found, u.frames)


def test_frames_word_times_and_other_classes_train(framed, tmp_path):
    run = trained(framed, tmp_path / "runs", hop=0.01, window=0.025)
    assert run.model.config.classes == 3 and run.model.config.bands == 40

"""What the readers give goes all the way: features and a training of a second."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mmer_lib.corpora import own
from mmer_lib.data import DataError
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


def test_utterances_without_an_alignment_are_left_out_where_words_need_times(release, tmp_path):
    """As one of IEMOCAP's 5531: MIMIC trains on the others, MUSE on all."""
    line = fake_iemocap.spoken(release)
    release.alignment(line).unlink()
    corpus, _ = fake_iemocap.load(release)
    (gone,) = [row for row, u in enumerate(corpus.utterances) if u.words is None]
    small = {**SMALL["mimic"], "modalities": ("text", "audio"), "task": "emotion"}
    small |= {"monitor": "wa", "mode": "max"}
    told = f"iemocap: utterances without word times: 1 ({corpus.utterances[gone].id}); left out"
    for fold in range(5):
        whole = corpus.splits(fold)
        with pytest.warns(UserWarning, match=re.escape(told)):
            planned = training.plan("mimic", corpus, fold, out=tmp_path, **small)
        assert [sorted({*rows} - {gone}) for rows in whole] == [*map(sorted, planned.split)]
        assert training.plan("muse", corpus, fold, out=tmp_path).split == whole
    fold = next(fold for fold in range(5) if gone in corpus.splits(fold).test)
    more = {"device": "cpu", "progress": False, "max_epochs": 1, "out": tmp_path}
    with pytest.warns(UserWarning, match=re.escape(told)):
        run = training.fit("mimic", corpus, fold, **small, **more)
        test = training.examples_for(run, corpus, corpus.splits(fold).test)
    assert sorted(run.predict(test)[0].tolist()) == sorted({*corpus.splits(fold).test} - {gone})
    assert run.result["sizes"]["test"] == len(test)


def test_a_fold_of_which_a_part_has_no_alignment_is_refused(release, tmp_path):
    corpus, _ = fake_iemocap.load(release)
    corpus = replace(
        corpus,
        utterances=tuple(
            replace(u, words=None) if u.session == "Session1" else u for u in corpus.utterances
        ),
    )
    with pytest.warns(UserWarning), pytest.raises(DataError, match="a part of fold 0 holds no utt"):
        training.plan(
            "mimic",
            corpus,
            0,
            out=tmp_path,
            modalities=("text", "audio"),
            task="emotion",
            monitor="wa",
            mode="max",
        )


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

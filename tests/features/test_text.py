import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmer_lib.data import DataError, tokenise
from mmer_lib.features.text import BertWords, Glove, _package
from mmer_lib.pretrained import load_pretrained
from tests.tiny import small_bert


@pytest.fixture(scope="module")
def glove():
    return Glove()


@pytest.fixture(scope="module")
def bert():
    return BertWords()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop -- it's 3.5!", ["Don't", "stop", "it's", "3.5"]),
        ("  ... ?! 😀 ", []),
        ("", []),
        ("well-known U.S. 1,000", ["well-known", "U.S", "1,000"]),
        ("\"Yes,\" he said; 'no'.", ["Yes", "he", "said", "no"]),
        ("'cause the dogs' café", ["'cause", "the", "dogs'", "café"]),
        ("o\u2019clock snake_case", ["o\u2019clock", "snake", "case"]),
        ("cafe\u0301", ["café"]),
    ],
)
def test_tokenise(text, words):
    assert tokenise(text) == words


def test_glove_holds_real_meanings(glove):
    """Also where pyarrow is installed, beside which fastparquet reads other texts."""
    vectors, known = glove.vectors(["happy", "glad", "carburetor"])
    assert vectors.shape == (3, 50) and vectors.dtype == np.float32 and known.all()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.6 > 0.3 > unit[0] @ unit[2]
    np.testing.assert_allclose(glove.vectors(["the"])[0][0, :3], [0.418, 0.24968, -0.41242], 1e-5)
    index, _ = _package()
    assert len(index) == 400_000 and all(type(word) is str for word in index)


def test_glove_unknown_words_are_zeros_in_other_scripts_too(glove):
    vectors, known = glove.vectors(
        ["zzqqx", "dog", "--", "😀", "", *"你好世界 مرحبا привет".split()]
    )
    assert known.tolist() == [False, True, *[False] * 6]
    assert (vectors[~known] == 0).all()
    vectors, known = glove.vectors([])
    assert vectors.shape == (0, 50) and known.shape == (0,) and known.dtype == bool
    vectors, known = glove.vectors(["dog", "Dog,", "“DOG”", "'dog'"])
    assert known.all() and (vectors == vectors[0]).all()


def test_glove_contractions_are_the_mean_of_their_parts(glove):
    whole, known = glove.vectors(["don't", "Don\u2019t", "she's", "zzqqx's"])
    parts, _ = glove.vectors(["do", "n't"])
    np.testing.assert_allclose(whole[0], parts.mean(axis=0), atol=1e-6)
    assert (whole[0] == whole[1]).all()
    assert known.tolist() == [True, True, True, False]


def write(tmp_path, text):
    path = tmp_path / "glove.txt"
    path.write_text(text, "utf-8")
    return path


def test_glove_from_a_text_file(tmp_path):
    g = Glove(write(tmp_path, "dog 1 2.5 -3\ncafé 4e-1 5 6\n. . 7 8 9\n"))
    vectors, known = g.vectors(["Dog!", "café", "cat"])
    assert vectors.tolist() == [[1, 2.5, -3], [np.float32(0.4), 5, 6], [0, 0, 0]]
    assert known.tolist() == [True, True, False]
    one, two = g.identity, Glove(write(tmp_path, "dog 1 3\n")).identity
    assert len({one, two, Glove().identity}) == 3
    with pytest.raises(DataError, match="no such file"):
        Glove(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog 1 2 3\ncat 1 2\n", r"glove\.txt, line 2: not a word and the 3 numbers.*whole"),
        ("dog 1 2 3\n\n", "line 2"),
        ("dog 1 2 3\ncat 1 nan 3\n", "line 2: not a word and"),
        ("Dear aunt,\nit rains", "line 1: not a word"),
        ("", "empty"),
    ],
)
def test_glove_broken_files(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        Glove(write(tmp_path, text)).vectors(["cat"])


PLAIN = "dog 1 2.5 -3\ncat 4 5 6 \ndog 0 0 0\n"


@pytest.mark.parametrize("ending", [".txt", ".gz", ".zip", ".vec"])
def test_glove_packed_or_with_the_first_line_of_fasttext(tmp_path, ending):
    path = tmp_path / f"vectors{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vectors.txt", PLAIN)
    else:
        content = (f"3 3\n{PLAIN}" if ending == ".vec" else PLAIN).encode()
        path.write_bytes(gzip.compress(content) if ending == ".gz" else content)
    vectors, known = Glove(path).vectors(["cat", "dog", "3"])
    assert vectors.tolist() == [[4, 5, 6], [1, 2.5, -3], [0, 0, 0]]
    assert known.tolist() == [True, True, False]
    if ending in (".gz", ".zip"):
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match=r"cannot be unpacked.*download it again"):
            Glove(path).vectors(["cat"])


def test_glove_from_a_zip_of_several_or_a_binary_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.6B.zip", "w") as archive:
        for width in (50, 100):
            archive.writestr(f"glove.6B.{width}d.txt", PLAIN)
    with pytest.raises(DataError, match=r"holds glove\.6B\.50d\.txt, .*unpack it and name one"):
        Glove(tmp_path / "glove.6B.zip").vectors(["cat"])
    numbers = np.arange(1, 4, dtype="f4").tobytes()
    for binary in (b"2 3\ncat " + numbers + b"\ndog " + numbers, b"\x93NUMPY\1 \0v\0" + numbers):
        (tmp_path / "vectors.bin").write_bytes(binary)
        with pytest.raises(DataError, match=r"vectors\.bin, line .*text file, no binary one"):
            Glove(tmp_path / "vectors.bin").vectors(["cat"])


SENTENCES = [
    ["don't", "worry", "be", "unbelievably", "happy"],
    ["no"],
    [],
    ["x"] * 40,
    ["a", "", "mmerly", "  ", "😀"],
]


def test_bert_padding_and_batching_change_nothing(bert):
    """A word without sub-words gets zeros; what is all [UNK] is not known."""
    together = bert.encode(SENTENCES)
    for sentence, (vectors, known) in zip(SENTENCES, together, strict=True):
        ((alone, alone_known),) = bert.encode([sentence])
        assert vectors.shape == (len(sentence), 384) and vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, alone, atol=1e-5)
        assert (
            known.tolist()
            == alone_known.tolist()
            == [w.strip() not in ("", "😀") for w in sentence]
        )
    assert (together[4][0][[1, 3]] == 0).all() and together[4][0][[0, 2]].any(axis=1).all()
    assert bert.encode([]) == []
    assert not bert.model.training
    assert not any(p.requires_grad for p in bert.model.parameters())
    with pytest.raises(DataError, match="602 sub-words, the model takes 512"):
        bert.encode([["a"], ["a"] * 600])


def test_bert_word_is_the_mean_of_its_subwords(bert):
    import torch

    ids, word_ids = bert.subwords(SENTENCES[0])
    assert word_ids[0] is None and word_ids[-1] is None
    assert [w for w in word_ids if w is not None] == sorted(word_ids[1:-1])
    with torch.no_grad():
        hidden = bert.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    ((vectors, _),) = bert.encode(SENTENCES[:1])
    for word in range(5):
        rows = [hidden[i] for i, w in enumerate(word_ids) if w == word]
        np.testing.assert_allclose(vectors[word], np.mean(rows, axis=0), atol=1e-5)


# ------------------------------------------------------------------------- whole texts, folders


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a small BERT with 16 positions."""
    return Path(small_bert(tmp_path_factory.mktemp("small"), positions=16))


@pytest.fixture
def damaged(small, tmp_path):
    return Path(shutil.copytree(small, tmp_path / "damaged"))


def test_bert_cls_is_the_first_state_of_the_whole_text(bert):
    import torch

    texts = ["Don't worry, be happy!", "no"]
    ids = [bert.tokenizer(t)["input_ids"] for t in texts]
    for text, one, cls in zip(texts, ids, bert.at_cls(texts), strict=True):
        assert bert.sentence(text).tolist() == one and bert.sentence(text).dtype == np.int64
        with torch.no_grad():
            expected = bert.model(input_ids=torch.tensor([one])).last_hidden_state[0, 0].numpy()
        assert cls.shape == (384,) and cls.dtype == np.float32
        np.testing.assert_allclose(cls, expected, atol=1e-5)


@pytest.mark.parametrize(("letters", "length"), [(3, 5), (14, 16), (15, 16), (900, 16)])
def test_a_whole_text_is_cut_where_the_positions_end(small, letters, length):
    encoder = BertWords(small)
    ids = encoder.sentence("a " * letters)
    first, last = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    assert len(ids) == length and ids[0] == first and ids[-1] == last
    assert np.isfinite(encoder.at_cls(["a " * letters])[0]).all()


def test_roberta_positions_begin_after_its_padding(tmp_path):
    """It has six positions, and the first two are never used."""
    from transformers import RobertaConfig, RobertaModel

    folder = small_bert(tmp_path)
    config = RobertaConfig(
        vocab_size=60,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=1,
        intermediate_size=8,
        max_position_embeddings=6,
    )
    RobertaModel(config).save_pretrained(folder)
    encoder = BertWords(folder)
    assert len(encoder.sentence("a b c d e f g")) == 4
    assert encoder.at_cls(["a b c d e f g"])[0].shape == (8,)


@pytest.mark.parametrize("kind", ["AutoModel", "AutoTokenizer", "AutoConfig"])
@pytest.mark.parametrize("name", ["nobody/no-such-model", "/nowhere/at all"])
def test_an_unknown_name_is_refused_with_the_remedy(monkeypatch, kind, name):
    """Offline; conftest.py fails whoever asks the network all the same."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=f"^{name}: .*no {kind}.*folder of a saved model.*OFFLINE"):
        load_pretrained(kind, name)


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        *((name, -50) for name in ("config.json", "model.safetensors", "tokenizer.json")),
        ("model.safetensors", 0),
        ("*token*", None),  # for want of one transformers would make one up that knows no word
    ],
)
def test_a_damaged_folder_is_refused(damaged, name, keep):
    for path in damaged.glob(name):
        path.unlink() if keep is None else path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged"):
        BertWords(damaged).at_cls(["the dog"])


def test_the_identity_of_a_folder_follows_every_file(small, damaged):
    same = BertWords(damaged).identity
    pieces = BertWords(small).tokenizer.convert_ids_to_tokens(BertWords(small).sentence("The dogs"))
    assert pieces == ["[CLS]", "the", "dog", "##s", "[SEP]"]
    assert same == BertWords(small).identity
    (damaged / "config.json").write_bytes((damaged / "config.json").read_bytes() + b" ")
    assert BertWords(damaged).identity != same
    assert BertWords("bert-base-uncased").identity == "transformers bert-base-uncased"

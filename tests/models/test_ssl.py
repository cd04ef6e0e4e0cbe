"""Two encoders joined, by shallow fusion or co-attention: against a second reading where they are
frozen, against the encoders themselves where they are trained along."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmer_lib.data import DataError
from mmer_lib.models.compared.ssl import FUSIONS, Ssl, SslConfig
from mmer_lib.models.encoders import SpeechEncoder, TextEncoder
from mmer_lib.probes.hooks import record
from mmer_lib.training import fit as training
from tests.models import naive, speech, utterances
from tests.models.speech import every_change, made_of
from tests.tiny import small_bert, small_wav2vec, tiny

KINDS = [("text",), ("speech",), ("text", "speech")]
tuned = pytest.mark.parametrize("kinds", KINDS, ids=str)
fused = pytest.mark.parametrize("fusion", FUSIONS)


def along(kinds, fusion="shallow"):
    """With these encoders trained along."""
    config = SslConfig(
        fusion=fusion,
        words=utterances.SMALL.words,
        cls=utterances.CLS,
        audio=speech.WIDTHS["audio"],
        encoder=utterances.encoder("bert") if "text" in kinds else None,
        speech=utterances.encoder("wav2vec2", feat_extract_norm="layer")
        if "speech" in kinds
        else None,
        dropout=0.0,
    )
    torch.manual_seed(0)
    return Ssl(config)


def batch_of(rows=slice(None), garbage=None):
    made = utterances.examples()
    batch = utterances.batched(made, torch.float32)
    spoken = speech.batched(speech.examples(), torch.float32)
    if garbage is not None:
        batch = utterances.garbled(batch, subwords=5, sound=120, garbage=garbage)
        spoken = speech.garbled(spoken, garbage=garbage)
    batch.audio, batch.audio_mask = spoken.audio, spoken.audio_mask
    return utterances.rows_of(batch, rows)


@every_change("ssl")
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = made_of("ssl", **change)
    w, heads = naive.weights(model), model.config.heads

    def ssl(e):
        heard = (e["audio"] - w["scale.mean"]) / w["scale.deviation"]
        named = {"text": e["cls"], "speech": heard.mean(0)}
        joined = list(named.values())
        if model.config.fusion == "co-attention":
            joined = [
                vector + naive.attention(vector[None], read, naive.part(w, by), heads)[0]
                for vector, read, by in zip(
                    joined, (heard, e["words"]), ("ask_speech", "ask_text"), strict=True
                )
            ]
            named |= dict(zip(("text_speech", "speech_text"), joined, strict=True))
        logits = naive.linear(np.concatenate(joined)[None], naive.part(w, "classifier"))[0]
        return {**named, "logits": logits}

    speech.agrees(model, ssl)


@tuned
@fused
def test_with_encoders_trained_along_it_joins_what_they_say(kinds, fusion):
    model, batch = along(kinds, fusion).eval(), batch_of()
    out = model(batch)
    text, words, word_mask = batch.cls, batch.words, batch.word_mask
    states, mask = model.scale(batch.audio) if model.scale else None, batch.audio_mask
    if "text" in kinds:
        own = TextEncoder(model.config.encoder).eval()
        own.load_state_dict(model.bert.encoder.state_dict())
        text = own(batch.subwords, batch.subword_mask)
        words, word_mask = own.states(batch.subwords, batch.subword_mask), batch.subword_mask
        torch.testing.assert_close(words[:, 0], text)
    torch.testing.assert_close(out.named["text"], text)
    if "speech" in kinds:
        own = SpeechEncoder(model.config.speech).eval()
        own.load_state_dict(model.speech_encoder.state_dict())
        states, mask = own(batch.sound, batch.sound_mask)
        said = torch.stack([s[~m].mean(0) for s, m in zip(states, mask, strict=True)])
        torch.testing.assert_close(out.named["speech"], said)
    both = [out.named["text"], out.named["speech"]]
    if fusion == "co-attention":
        ways = ((model.ask_speech, states, mask), (model.ask_text, words, word_mask))
        both = [
            x + ask(x[:, None], memory, m)[:, 0]
            for x, (ask, memory, m) in zip(both, ways, strict=True)
        ]
    both = torch.cat(both, dim=1)
    torch.testing.assert_close(out.logits, model.classifier(both))


@pytest.mark.parametrize("kinds", KINDS[2:])
def test_each_vector_asks_the_whole_sequence_of_the_other(kinds):
    """The attention can be read: all real steps, [CLS] among them, and no others."""
    model, batch = along(kinds, "co-attention").eval(), batch_of(garbage=1e3)
    with record({"speech": model.ask_speech.weights, "text": model.ask_text.weights}) as maps:
        model(batch)
    _, heard = model.speech_encoder(batch.sound, batch.sound_mask)
    for name, mask in (("speech", heard), ("text", batch.subword_mask)):
        assert maps[name].shape == (3, 2, 1, mask.shape[1])
        real = (maps[name] > 0).all(1).squeeze(1)
        assert torch.equal(real, ~mask)
        torch.testing.assert_close(maps[name].sum(-1), torch.ones(3, 2, 1))


@tuned
@fused
def test_padding_changes_nothing_and_a_batch_of_one_works(kinds, fusion):
    model = along(kinds, fusion).eval()
    plain = model(batch_of()).logits
    for garbage in (1e3, float("nan")):
        torch.testing.assert_close(
            model(batch_of(garbage=garbage)).logits, plain, **utterances.SAME
        )
    for rows in ([2, 0], [1]):
        torch.testing.assert_close(model(batch_of(rows)).logits, plain[rows], **utterances.SAME)
    assert model.train()(batch_of([1])).logits.isfinite().all()


@tuned
@fused
def test_every_parameter_of_the_encoders_gets_a_gradient_or_is_frozen_on_purpose(kinds, fusion):
    model, batch = along(kinds, fusion).double().train(), batch_of()
    batch = batch._map(lambda t: t.double() if t.is_floating_point() else t)
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            assert "feature_extractor" in name or name.endswith("masked_spec_embed"), name
            continue
        none = name.endswith(("key.bias", "k_proj.bias"))  # shifts all scores of a softmax alike
        size = float(p.grad.abs().max())
        assert size < 1e-13 if none else size > 1e-12, (name, size)


# ------------------------------------------------------------------------- which encoder it needs


@pytest.mark.usefixtures("keep_cache")
def test_without_a_speech_encoder_it_says_which_one_to_name(small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "extract", lambda *a, **k: pytest.fail("computed"))
    with pytest.raises(DataError, match=r"set wav2vec to .*wav2vec2-base.*listener.*neither is"):
        training.fit("ssl", small_corpus, device="cpu", out=tmp_path)
    with pytest.raises(DataError, match=r"Ssl hears speech through an encoder.*both are set"):
        training.fit("ssl", small_corpus, device="cpu", out=tmp_path, wav2vec="a", listener="b")
    assert not list(tmp_path.iterdir())


@fused
@pytest.mark.usefixtures("keep_cache")
def test_both_encoders_are_trained_along_from_their_weights(small_corpus, tmp_path, fusion):
    text, sound = small_bert(tmp_path / "bert", positions=64), small_wav2vec(tmp_path / "wav2vec")
    run = tiny("ssl", small_corpus, tmp_path / "runs", max_epochs=1, learning_rate=0.0,
               encoder_learning_rate=0.0, encoder=text, tune=True, wav2vec=sound,
               model_options={"fusion": fusion})  # fmt: skip
    assert run.model.config.cls == 12 and run.model.config.speech["hidden_size"] == 8
    for own, folder in ((run.model.bert.encoder.model, text),
                        (run.model.speech_encoder.model, sound)):  # fmt: skip
        known = training.load_pretrained("AutoModel", folder).state_dict()
        for name, value in own.state_dict().items():
            assert torch.equal(value, known[name]), name

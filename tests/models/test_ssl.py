"""Two encoders joined, by shallow fusion or co-attention: against a second reading where they are
frozen, against the encoders themselves where they are trained along."""

import numpy as np
import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.models.encoders import SpeechEncoder, TextEncoder
from mmer_lib.pretrained import load_pretrained
from mmer_lib.training.fit import build, plan
from tests.models import naive
from tests.models.cases import agrees, built
from tests.models.utterances import batched, examples
from tests.tiny import small_bert, small_wav2vec

KINDS = [("text",), ("speech",), ("text", "speech")]
tuned = pytest.mark.parametrize("kinds", KINDS, ids=str)
fused = pytest.mark.parametrize("fusion", ["shallow", "co-attention"])


def along(kinds, fusion="shallow"):
    """With these encoders trained along."""
    encoders = {"text": {"encoder": "bert"}, "speech": {"speech": "layer"}}
    change = {k: v for kind in kinds for k, v in encoders[kind].items()}
    return built("ssl", fusion=fusion, **change)


@pytest.mark.parametrize("change", [{}, {"classes": 1}, {"fusion": "co-attention"}], ids=str)
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built("ssl", **change)
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

    agrees(model, ssl)


@tuned
@fused
def test_with_encoders_trained_along_it_joins_what_they_say(kinds, fusion):
    model, batch = along(kinds, fusion), batched(examples())
    out = model(batch)
    text, words, word_mask = batch.cls, batch.words, batch.word_mask
    states, mask = model.scale(batch.audio) if model.scale else None, batch.audio_mask
    if "text" in kinds:
        own = TextEncoder(model.config.encoder).double().eval()
        own.load_state_dict(model.bert.encoder.state_dict())
        text = own(batch.subwords, batch.subword_mask)
        words, word_mask = own.states(batch.subwords, batch.subword_mask), batch.subword_mask
        torch.testing.assert_close(words[:, 0], text)
    torch.testing.assert_close(out.named["text"], text)
    if "speech" in kinds:
        own = SpeechEncoder(model.config.speech).double().eval()
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


@pytest.mark.usefixtures("keep_cache")
def test_without_a_speech_encoder_it_says_which_one_to_name(small_corpus, tmp_path):
    with pytest.raises(DataError, match=r"name one .*wav2vec2-base.*as wav2vec.*or as listener"):
        plan("ssl", small_corpus, out=tmp_path)


@fused
@pytest.mark.usefixtures("keep_cache")
def test_both_encoders_are_trained_along_from_their_weights(small_corpus, tmp_path, fusion):
    text, sound = small_bert(tmp_path / "bert", positions=64), small_wav2vec(tmp_path / "wav2vec")
    change = {"encoder": text, "tune": True, "wav2vec": sound, "fusion": fusion}
    model = build(plan("ssl", small_corpus, out=tmp_path, **change), progress=False).model
    assert model.config.cls == 12 and model.config.speech["hidden_size"] == 8
    for own, folder in ((model.bert.encoder, text), (model.speech_encoder, sound)):
        known = load_pretrained("AutoModel", folder).state_dict()
        for name, value in own.model.state_dict().items():
            assert torch.equal(value, known[name]), name

"""Two encoders joined: against a second reading where they are frozen, against the encoders
themselves where they are trained along."""

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


@pytest.mark.parametrize("change", [{}, {"classes": 1}], ids=str)
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built("ssl", **change)
    w = naive.weights(model)

    def ssl(e):
        heard = (e["audio"] - w["scale.mean"]) / w["scale.deviation"]
        named = {"text": e["cls"], "speech": heard.mean(0)}
        both = np.concatenate([*named.values()])[None]
        return {**named, "logits": naive.linear(both, naive.part(w, "classifier"))[0]}

    agrees(model, ssl)


@pytest.mark.parametrize("kinds", [("text",), ("speech",), ("text", "speech")], ids=str)
def test_with_encoders_trained_along_it_joins_what_they_say(kinds):
    encoders = {"text": {"encoder": "bert"}, "speech": {"speech": "layer"}}
    model = built("ssl", **{k: v for kind in kinds for k, v in encoders[kind].items()})
    batch = batched(examples())
    out = model(batch)
    text = batch.cls
    if "text" in kinds:
        own = TextEncoder(model.config.encoder).double().eval()
        own.load_state_dict(model.bert.encoder.state_dict())
        text = own(batch.subwords, batch.subword_mask)
    torch.testing.assert_close(out.named["text"], text)
    if "speech" in kinds:
        own = SpeechEncoder(model.config.speech).double().eval()
        own.load_state_dict(model.speech_encoder.state_dict())
        states, mask = own(batch.sound, batch.sound_mask)
        said = torch.stack([s[~m].mean(0) for s, m in zip(states, mask, strict=True)])
        torch.testing.assert_close(out.named["speech"], said)
    both = torch.cat([out.named["text"], out.named["speech"]], dim=1)
    torch.testing.assert_close(out.logits, model.classifier(both))


@pytest.mark.usefixtures("keep_cache")
def test_without_a_speech_encoder_it_says_which_one_to_name(small_corpus, tmp_path):
    with pytest.raises(DataError, match=r"name one .*wav2vec2-base.*as wav2vec.*or as listener"):
        plan("ssl", small_corpus, out=tmp_path)


@pytest.mark.usefixtures("keep_cache")
def test_both_encoders_are_trained_along_from_their_weights(small_corpus, tmp_path):
    text, sound = small_bert(tmp_path / "bert", positions=64), small_wav2vec(tmp_path / "wav2vec")
    change = {"encoder": text, "tune": True, "wav2vec": sound}
    model = build(plan("ssl", small_corpus, out=tmp_path, **change), progress=False).model
    assert model.config.cls == 12 and model.config.speech["hidden_size"] == 8
    for own, folder in ((model.bert.encoder, text), (model.speech_encoder, sound)):
        known = load_pretrained("AutoModel", folder).state_dict()
        for name, value in own.model.state_dict().items():
            assert torch.equal(value, known[name]), name

"""Every compared system against its second reading: numpy, loops, one utterance without padding."""

from tests.models import naive
from tests.models.cases import agrees, built, every_change, given
from tests.models.test_floors import linear
from tests.models.test_iccn import iccn
from tests.models.test_li import li
from tests.models.test_lmf import lmf
from tests.models.test_mult import mult
from tests.models.test_mvlstm import mv_lstm
from tests.models.test_raven import raven
from tests.models.test_tfn import tfn
from tests.models.test_xu import xu
from tests.models.test_yoon import yoon

READINGS = {
    "iccn": iccn,
    "li": li,
    "linear": linear,
    "lmf": lmf,
    "mimic": lambda e, w, config: naive.mimic(given(e, config.modalities), w, config),
    "misa": lambda e, w, config: naive.misa(given(e), w, config),
    "mult": mult,
    "mv-lstm": mv_lstm,
    "raven": raven,
    "tfn": tfn,
    "xu": xu,
    "yoon": yoon,
}
"""Each reads one utterance, weights by name and a configuration, and names what `Output` names."""


@every_change(*READINGS)
def test_the_whole_forward_agrees_with_the_second_reading(name, change):
    model = built(name, **change)
    w = naive.weights(model)
    agrees(model, lambda e: READINGS[name](e, w, model.config))

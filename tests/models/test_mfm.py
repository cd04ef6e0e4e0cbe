"""MFM against a second reading and its authors' program."""

import numpy as np
import torch

from benchmarks import programs
from mmer_lib.models.compared.mfm import Generator, Mfm, MfmConfig, error, normal_discrepancy
from tests.models import naive
from tests.models.cases import agrees, built, every_change
from tests.models.common import CLOSE, scrambled
from tests.models.naive import part
from tests.models.references import program
from tests.models.test_mfn import PLACES, clocked, memory_fusion, two_layers
from tests.models.utterances import MODALITIES, whole


def mfm(e, w, config):
    """One utterance: what is named, the logits, and what is rebuilt of each modality."""
    rows, found, scaled = clocked(e, w), {}, {}
    for m, part_ in MODALITIES.items():
        scaled[m] = np.array(rows[m])[: len(e[part_])]
    length = len(rows["text"])
    h, u, _ = memory_fusion(rows, w, config.memory)
    last = np.concatenate([*h.values(), u])
    found["z_label"] = naive.linear(last[None], part(w, "latents.label"))[0]
    rebuilt = {}
    named = [m for m in MODALITIES if getattr(config, f"rebuilt_{m}")]
    for m in named:
        own = naive.lstm(scaled[m], part(w, f"encoders.{m}"))[-1]
        found[f"z_{m}"] = naive.linear(own[None], part(w, f"latents.{m}"))[0]
    for m in ("label", *named):
        y = two_layers(found[f"z_{m}"], w, f"factors.{m}.0", f"factors.{m}.3")
        found[f"f_{m}"] = naive.relu(y)
    for m in named:
        x, rows = np.concatenate([found["f_label"], found[f"f_{m}"]]), []
        own, h, c = part(w, f"generators.{m}.lstm"), np.zeros(len(x)), np.zeros(len(x))
        for _ in range(length):
            gates = own["weight_ih_l0"] @ x + own["bias_ih_l0"]
            gates = gates + own["weight_hh_l0"] @ h + own["bias_hh_l0"]
            i, f, g, o = gates.reshape(4, len(h))
            c = naive.sigmoid(f) * c + naive.sigmoid(i) * np.tanh(g)
            x = h = naive.sigmoid(o) * np.tanh(c)
            rows.append(h)
        rebuilt[m] = naive.linear(np.array(rows), part(w, f"generators.{m}.dense"))
    return found, two_layers(found["f_label"], w, "head.0", "head.3"), rebuilt, scaled


@every_change("mfm")
def test_the_whole_forward_and_its_losses_agree_with_the_naive_one(change):
    model = built("mfm", **change)
    config, w = model.config, naive.weights(model)
    squares, counts, each = dict.fromkeys(MODALITIES, 0.0), dict.fromkeys(MODALITIES, 0), []

    def reading(e):
        expected, logits, rebuilt, scaled = mfm(e, w, config)
        for m, x in rebuilt.items():
            squares[m] += ((x[: len(scaled[m])] - scaled[m]) ** 2).mean(1).sum()
            counts[m] += len(scaled[m])
        each.append(expected)
        return {**expected, "logits": logits}

    batch, out = agrees(model, reading)
    losses = model.losses(batch, out)
    rebuilt = {m for m in MODALITIES if getattr(config, f"rebuilt_{m}")}
    own = {f"rebuilt_{m}" for m in rebuilt} | ({"discrepancy"} if config.discrepancy else set())
    assert set(losses) == {"task"} | own
    for m in rebuilt:
        expected = squares[m] / counts[m]
        np.testing.assert_allclose(losses[f"rebuilt_{m}"].detach(), expected, **CLOSE)
    if config.discrepancy:
        names = [name for name in each[0] if name.startswith("z_")]
        total = sum(discrepancy(np.array([e[name] for e in each])) for name in names)
        np.testing.assert_allclose(losses["discrepancy"].detach(), total, **CLOSE)


def kernel(x, y):
    """As in the authors' program, for every pair."""
    return np.array([[np.exp(-np.mean((a - b) ** 2) / len(a)) for b in y] for a in x])


def discrepancy(z):
    """Its expectation over the normal vectors, one coordinate at a time, by sums over a grid."""
    grid, width = np.linspace(-9, 9, 3601), z.shape[1]
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    scale = width**2
    cross = [
        np.prod([(density * np.exp(-((grid - v) ** 2) / scale)).sum() for v in row]) for row in z
    ]
    wide = np.exp(-(grid**2) / 4) / np.sqrt(4 * np.pi) * (grid[1] - grid[0])  # of a difference
    normal = (wide * np.exp(-(grid**2) / scale)).sum() ** width
    return normal + kernel(z, z).mean() - 2 * np.mean(cross)


def test_the_discrepancy_is_the_mean_over_many_draws():
    rng = np.random.default_rng(0)
    z = rng.normal(0.5, 2, (6, 3))
    drawn = []
    for _ in range(3000):
        x = rng.normal(size=z.shape)
        real = kernel(x, x)
        real = (real.sum() - len(x)) / (len(x) * (len(x) - 1))  # without a vector and itself
        drawn.append(real + kernel(z, z).mean() - 2 * kernel(x, z).mean())
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(float(normal_discrepancy(torch.tensor(z))) - np.mean(drawn)) < 4 * error


def test_a_generator_in_one_call_is_the_lstm_that_reads_its_own_output_with_its_gradients():
    generator = scrambled(Generator(4, 3))
    factor = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    x, state, rows = factor.unsqueeze(1), None, []
    for _ in range(6):
        x, state = generator.lstm(x, state)
        rows.append(generator.dense(x))
    found, whole = generator(factor, 6), torch.cat(rows, 1)
    torch.testing.assert_close(found, whole, **CLOSE)
    wanted = [factor, *generator.parameters()]
    mine = torch.autograd.grad(found.sin().sum(), wanted)
    torch.testing.assert_close(mine, torch.autograd.grad(whole.sin().sum(), wanted), **CLOSE)


def test_rebuilding_counts_real_steps_only():
    found, given = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    given[:, 2:] = 50
    mask = torch.tensor([[False, True, True], [False, False, True]])
    assert error(found, given, mask) == 1
    assert error(found, given, torch.ones(2, 3, dtype=torch.bool)) == 0


def test_the_authors_program_with_equal_weights_gives_equal_outputs():
    config = MfmConfig()
    torch.manual_seed(0)
    theirs, ours = program(programs.mfm, config).eval(), Mfm(config).eval()
    missing, unknown = ours.load_state_dict(renamed(theirs.state_dict()), strict=False)
    assert not unknown and all(name.startswith("scale.") for name in missing)
    batch = whole(config, count=4)
    x = torch.cat([batch.words, batch.audio, batch.vision], -1)
    with torch.no_grad():
        decoded, _, _ = theirs(x.transpose(0, 1))
        out = ours(batch)
        rebuilt = {m: ours.rebuild(out.named, m, 9) for m in MODALITIES}
    close = dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.logits, decoded[3].squeeze(-1), **close)
    for m, expected in zip(MODALITIES, decoded, strict=False):
        torch.testing.assert_close(rebuilt[m], expected.transpose(0, 1), **close)


def renamed(state):
    """The authors' names as ours; the Memory Fusion Network's own head is read by nothing."""
    made, letters = {}, {"l": "text", "a": "audio", "v": "vision", "y": "label"}
    places = {"last_to_zy_fc1": "latents.label"}
    places |= {"fy_to_y_fc1": "head.0", "fy_to_y_fc2": "head.3"}
    for m, name in letters.items():
        places |= {
            f"z{m}_to_f{m}_fc1": f"factors.{name}.0",
            f"z{m}_to_f{m}_fc2": f"factors.{name}.3",
            f"encoder_{m}.lstm": f"encoders.{name}",
            f"encoder_{m}.fc1": f"latents.{name}",
            f"decoder_{m}.lstm": f"generators.{name}.lstm",
            f"decoder_{m}.fc1": f"generators.{name}.dense",
        }
    places |= PLACES
    for key, value in state.items():
        place, _, kind = key.removeprefix("mfn_encoder.").rpartition(".")
        if not place.startswith("out_fc"):
            one = places[place].startswith(("encoders", "generators")) and "_" in kind
            made[f"{places[place]}.{kind}{'_l0' if one else ''}"] = value
    return made

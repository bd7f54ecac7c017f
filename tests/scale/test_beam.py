"""The parts for pipelines of Apache Beam, on its direct runner."""

import importlib
import sys

import numpy as np
import pytest

import tf_learnprop as tlp
from tests.scale.scale_toys import pixels, png, preprocess

beam = pytest.importorskip("apache_beam")

from apache_beam.ml.inference.base import KeyedModelHandler, RunInference  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

from tf_learnprop.scale import output  # noqa: E402
from tf_learnprop.scale.beam import ExplainerHandler, ExplainImages  # noqa: E402

#: What `keep` was called with: Beam pickles functions, and finds those of a module by their names.
FOUND = {}


def test_without_beam(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "tf_learnprop.scale.beam")
    with pytest.raises(ImportError, match=r"pip install 'tf-learnprop\[beam\]'"):
        importlib.import_module("tf_learnprop.scale.beam")


class TestPartsOfAPipeline:
    def test_handler_of_files(self, served, explainer):
        files = [("good", png(0)), ("broken", b"no image"), ("other", png(1))]
        handler = KeyedModelHandler(ExplainerHandler(served))
        found = run(files, RunInference(handler))
        expected = explainer([content for _, content in files])
        assert sorted(found) == ["broken", "good", "other"]
        for row, (name, content) in enumerate(files):
            prediction = found[name]
            assert prediction.example == content
            np.testing.assert_allclose(prediction.inference.map, expected.maps[row], atol=1e-5)
            assert prediction.inference.class_id == expected.class_ids[row]
            assert prediction.inference.error == expected.errors.get(row)

    def test_handler_of_arrays_and_a_class(self, served):
        images = preprocess(np.stack([pixels(seed) for seed in range(3)]).astype(np.float32))
        handler = KeyedModelHandler(ExplainerHandler(served, "explain_class", batch_size=2))
        found = run(list(enumerate(images)), RunInference(handler, inference_args={"class_ids": 2}))
        expected = tlp.serving.Explainer(served, "explain_class")(images, 2)
        for row in range(3):
            assert found[row].inference.class_id == 2
            np.testing.assert_allclose(found[row].inference.map, expected.maps[row], atol=1e-5)
            assert found[row].inference.probability == pytest.approx(expected.probabilities[row], abs=1e-6)

    def test_images_to_parquet(self, served, explainer, tmp_path):
        from pyarrow import parquet

        files = [("a.png", png(0)), ("b.png", b"no image"), ("c.png", png(1))]
        with pipeline() as started:
            tables = started | beam.Create(files) | ExplainImages(served, class_names=[*"abcd"])
            tables | beam.io.WriteToParquetBatched(
                str(tmp_path / "part"), output.schema(), file_name_suffix=".parquet"
            )
        rows = parquet.read_table(tmp_path).sort_by("path").to_pylist()
        expected = explainer([content for _, content in files])
        assert [row["path"] for row in rows] == ["a.png", "b.png", "c.png"]
        assert [row["error"] for row in rows] == [None, expected.errors[1], None]
        for row in (0, 2):
            assert rows[row]["class_name"] == "abcd"[expected.class_ids[row]]
            scale_of_map = np.abs(expected.maps[row]).max()
            np.testing.assert_allclose(rows[row]["map"], expected.maps[row].ravel(), atol=2e-3 * scale_of_map)

    def test_labels_of_images(self, served, tmp_path):
        from pyarrow import parquet

        files = [("a.png", png(0), 3), ("b.png", png(1), None), ("c.png", png(2), 1)]
        with pipeline() as started:
            tables = started | beam.Create(files) | ExplainImages(served, explain_labels=True)
            tables | beam.io.WriteToParquetBatched(
                str(tmp_path / "part"), output.schema(), file_name_suffix=".parquet"
            )
        rows = parquet.read_table(tmp_path).sort_by("path").to_pylist()
        assert [row["error"] for row in rows] == [None, "The image has no label", None]
        assert [row["class_id"] for row in rows] == [3, None, 1]


def pipeline():
    return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))


def run(elements, transform):
    """The result of a transform of pairs, as a dict."""
    FOUND.clear()
    with pipeline() as started:
        started | beam.Create(elements) | transform | beam.Map(keep)
    return dict(FOUND)


def keep(pair):
    FOUND.update([pair])

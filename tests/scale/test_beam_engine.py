"""Apache Beam's direct runner: the engine, and the parts for pipelines of one's own."""

import functools
import os
import pathlib
import signal
import sys

import numpy as np
import pytest

import tf_learnprop as tlp
from tests.scale.scale_toys import OPTIONS, contents, pixels, png, preprocess, write
from tf_learnprop import scale

beam = pytest.importorskip("apache_beam")

from apache_beam.ml.inference.base import KeyedModelHandler, RunInference  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

from tf_learnprop.scale import beam_engine, output  # noqa: E402
from tf_learnprop.scale.beam import ExplainerHandler, ExplainImages  # noqa: E402

#: What `keep` was called with: Beam pickles functions, and finds those of a module by their names.
FOUND = {}
IN_THIS_PROCESS = ["--direct_running_mode=in_memory", "--direct_num_workers=1"]
explain = functools.partial(scale.explain_dataset, engine="beam", **OPTIONS)


class TestEngine:
    def test_the_bytes_are_those_of_the_local_engine(self, explainer, photos, once, tmp_path):
        calls = []
        result = explain(
            *(explainer, photos, tmp_path),
            pipeline_options=IN_THIS_PROCESS,
            progress=lambda *done: calls.append(done),
        )
        assert (result.explained, result.kept) == (40, 0)
        assert contents(tmp_path) == once
        assert calls[0] == (0, 41) and calls[-1] == (41, 41)

    @pytest.mark.slow
    def test_the_bytes_are_those_of_one_process(self, explainer, photos, once, tmp_path):
        assert explain(explainer, photos, tmp_path).explained == 40
        assert contents(tmp_path) == once

    def test_an_interrupted_run_goes_on(self, explainer, photos, once, tmp_path):
        explain(explainer, photos, tmp_path, pipeline_options=IN_THIS_PROCESS)
        for name in list(once)[::2]:
            (tmp_path / name).unlink()
        result = explain(explainer, photos, tmp_path, pipeline_options=IN_THIS_PROCESS)
        assert (result.explained, result.kept) == (40, 4 * len(list(once)[1::2]))
        assert contents(tmp_path) == once

    @pytest.mark.slow
    def test_a_run_with_a_killed_worker_can_be_resumed(self, explainer, tmp_path, monkeypatch):
        monkeypatch.setattr(beam_engine, "_SECONDS", 0.01)
        for number in range(600):
            write(tmp_path / "photos" / f"{number:03}.png", png(number))
        scale.explain_dataset(explainer, tmp_path / "photos", tmp_path / "once", **OPTIONS)
        killed = []

        def progress(done, total):
            if done and not killed:
                killed.append(worker_processes()[0])
                os.kill(killed[0], signal.SIGKILL)

        with pytest.raises(RuntimeError, match="was killed"):
            explain(explainer, tmp_path / "photos", tmp_path / "maps", progress=progress)
        once = contents(tmp_path / "once")
        assert contents(tmp_path / "maps").items() < once.items()
        explain(explainer, tmp_path / "photos", tmp_path / "maps", pipeline_options=IN_THIS_PROCESS)
        assert contents(tmp_path / "maps") == once

    @pytest.mark.parametrize("options", [IN_THIS_PROCESS, pytest.param([], marks=pytest.mark.slow)])
    def test_an_error_of_a_worker(self, explainer, photos, tmp_path, options):
        with pytest.raises(ValueError, match="`class_names` must name every class of the model"):
            explain(explainer, photos, tmp_path, class_names=["a"], pipeline_options=options)


BAD = {
    "address": ({"address": "localhost:1"}, "`address` must be None"),
    "unknown": (
        {"pipeline_options": ["--runer=FlinkRunner"]},
        r"Apache Beam. Received: \['runer'\]",
    ),
    "value": ({"pipeline_options": ["--direct_num_workers=two"]}, "valid in Apache Beam"),
    "workers": ({"pipeline_options": ["--runner=FlinkRunner"], "workers": 3}, "`workers` must be None"),
    "engine": ({"pipeline_options": ["--runner=x"], "engine": "local"}, "are for the engine 'beam'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(explainer, photos, tmp_path, case):
    arguments, match = BAD[case]
    with pytest.raises(ValueError, match=match):
        explain(explainer, photos, tmp_path / "maps", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_beam(explainer, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install 'tf-learnprop\[beam\]'"):
        explain(explainer, photos, tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


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
            tables = started | beam.Create(files) | ExplainImages(served, class_names="abcd")
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


def worker_processes():
    """Ids of the Python processes that Beam has started from this one, each in a shell."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            ours = os.getpid() in (parent(entry.name), parent(parent(entry.name)))
        except OSError:  # it has ended
            continue
        if command.startswith(sys.executable.encode()) and b"sdk_worker_main" in command and ours:
            found.append(int(entry.name))
    return found


def parent(process):
    status = pathlib.Path(f"/proc/{process}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])

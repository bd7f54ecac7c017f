"""What a wrapped model and a served one answer to the page."""

import http.server
import json
import threading

import keras
import numpy as np
import pytest
import scipy.ndimage

import tf_learnprop as tlp
from tests import serving_standin, toys
from tf_learnprop.app.backends import WrappedBackend
from tf_learnprop.app.served import ServedBackend, ServedError

SIDE = toys.SIDE
PHOTOS = toys.rng(3).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
IMAGES = PHOTOS / np.float32(64) - 2


class TestWrapped:
    def test_probabilities(self, in_process, wrapped):
        expected = wrapped.source(IMAGES).numpy()
        np.testing.assert_allclose(in_process.probabilities(PHOTOS), expected, rtol=1e-5)

    def test_learned_rules(self, in_process, wrapped):
        found = in_process.explain(PHOTOS[0], 2, "learned rules")
        np.testing.assert_allclose(found, wrapped.explain(IMAGES[:1], 2)[0], rtol=1e-5)

    @pytest.mark.parametrize("method", ["saliency", "guided_backprop"])
    def test_peers(self, in_process, wrapped, method):
        assert method in in_process.methods
        rule = "gradient" if method == "saliency" else method
        signal = tlp.wrap_model(wrapped.source, rule).input_signal(IMAGES[1:2], 3)[0]
        np.testing.assert_allclose(
            in_process.explain(PHOTOS[1], 3, method), np.abs(signal).max(-1), rtol=1e-4, atol=1e-7
        )

    def test_every_method_gives_a_map(self, in_process):
        for method in in_process.methods:
            found = in_process.explain(PHOTOS[0], 1, method)
            assert found.shape == (SIDE, SIDE) and found.std() > 0

    def test_several_inputs(self):
        image, other = keras.Input((SIDE, SIDE, 3), name="image"), keras.Input((2,), name="other")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
        source = keras.Model([image, other], keras.layers.Dense(3)(keras.layers.concatenate([x, other])))
        spec = tlp.zoo.ModelSpec("two", source, lambda x: x)
        with pytest.raises(ValueError, match=r"only input. Received: inputs \['image', 'other'\]"):
            WrappedBackend(spec, tlp.wrap_model(source), (SIDE, SIDE, 3))


class TestQuestions:
    CONTRASTS = {
        "Where is the object?": "objects",
        "What tells it from its rivals?": "names",
        "What speaks for it at all?": None,
    }

    @staticmethod
    def asked(wrapped, contrast):
        """A model wrapped with this contrast, with the weights of another."""
        readout = tlp.readouts.MultiLayerReadout(contrast=contrast)
        made = tlp.wrap_model(wrapped.source, "learned", readout=readout)
        pairs = zip(made.rule_set.weights, wrapped.rule_set.weights, strict=contrast is not None)
        for mine, its in pairs:  # the last one, of the focus, is not there without competition
            mine.assign(its)
        return made

    @pytest.mark.parametrize("own", ["objects", "names"])
    def test_maps_are_those_of_a_model_wrapped_with_the_contrast(self, in_process, wrapped, own):
        backend = WrappedBackend(in_process._spec, self.asked(wrapped, own), in_process.shape)
        assert list(backend.questions) == list(self.CONTRASTS)
        maps = []
        for question, contrast in self.CONTRASTS.items():
            method = backend.asking("learned rules", backend.questions[question])
            assert (method == "learned rules") == (contrast == own)
            maps.append(backend.explain(PHOTOS[0], 2, method))
            expected = self.asked(wrapped, contrast).explain(IMAGES[:1], 2)[0]
            np.testing.assert_allclose(maps[-1], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(maps[one] - maps[other]).max() > 0.01 * np.abs(maps[one]).max()

    def test_are_compared_first_in_place_of_the_method(self, in_process):
        assert in_process.compared[:3] == tuple(in_process.questions.values())
        assert "names" not in in_process.methods

    def test_other_methods_are_not_asked(self, in_process):
        names = in_process.questions["What tells it from its rivals?"]
        assert in_process.asking("saliency", names) == "saliency"
        assert in_process.asking("learned rules", None) == "learned rules"

    @pytest.mark.parametrize(
        "readout",
        ["input", tlp.readouts.MultiLayerReadout(contrast=None), tlp.readouts.MultiLayerReadout(rivals=0)],
    )
    def test_none_where_no_class_competes(self, in_process, wrapped, readout):
        other = tlp.wrap_model(wrapped.source, "learned", readout=readout)
        backend = WrappedBackend(in_process._spec, other, in_process.shape)
        assert not backend.questions and "names" in backend.methods
        assert backend.compared[0] == "learned rules"


class TestServed:
    def test_shape_and_classes(self, served):
        assert served.shape == (SIDE, SIDE, 3) and served.class_count == 4
        assert served.class_name(1) == "dog"

    def test_answers_as_the_wrapped_model(self, served, in_process):
        np.testing.assert_allclose(served.probabilities(PHOTOS), in_process.probabilities(PHOTOS), rtol=1e-4)

    def test_maps_are_enlarged_to_the_photo(self, served, in_process):
        found = served.explain(PHOTOS[0], 2, served.methods[0])
        whole = in_process.explain(PHOTOS[0], 2, "learned rules")
        means = whole.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
        expected = scipy.ndimage.zoom(means, 2, order=1, mode="nearest", grid_mode=True)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(whole).max())

    def test_names_are_counted(self, url):
        with pytest.raises(ValueError, match="`class_names` must hold 4 names. Received: 2"):
            ServedBackend(url, ["a", "b"])


class TestBadServers:
    @pytest.mark.parametrize(
        "wrong", ["localhost:8501", "http://localhost:8501", "http://localhost/v1/models/"]
    )
    def test_url(self, wrong):
        with pytest.raises(ValueError, match="`url` must be that of a model"):
            ServedBackend(wrong)

    def test_down(self):
        with pytest.raises(ServedError, match="no server answers at http://127.0.0.1:9/v1/models/toy"):
            ServedBackend("http://127.0.0.1:9/v1/models/toy")

    def test_unknown_model(self, url):
        with pytest.raises(ServedError, match="answers with an error: Servable not found"):
            ServedBackend(url.replace("toy", "other"))

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ("hello", "does not answer as TensorFlow Serving does"),
            (json.dumps({"signatures": []}), "does not answer as TensorFlow Serving does"),
            (
                json.dumps({"metadata": {"signature_def": {"signature_def": {"serving_default": {}}}}}),
                "no signature classify_encoded or explain_encoded_class",
            ),
        ],
    )
    def test_not_one_of_ours(self, answer, message):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(ServedError, match=message):
                ServedBackend(f"http://127.0.0.1:{server.server_port}/v1/models/toy")
        finally:
            server.shutdown()
            server.server_close()

    def test_goes_down_later(self, saved_model):
        with serving_standin.rest_server(saved_model, "toy") as address:
            backend = ServedBackend(f"{address}/v1/models/toy")
        with pytest.raises(ServedError, match="no server answers"):
            backend.probabilities(PHOTOS)

import numpy as np
import pytest

from benchmarks.evaluation import images, methods, small_models, tables, universal_rule
from tf_learnprop import universal


class TestSplit:
    def test_parts_are_disjoint_and_labels_go_with_images(self):
        places = np.arange(200, dtype="float32")
        parts = images.by_place(places.reshape(-1, 1, 1, 1), places.astype(int) * 7)
        found = {name: parts[name].ravel().astype(int) for name in ("train", "tune", "test")}
        assert set(found["train"] % 10) == set(range(7))
        assert set(found["tune"] % 10) == {7}
        assert set(found["test"] % 10) == {8, 9}
        for name in ("train", "test"):
            assert len(set(found[name])) == len(found[name])
            np.testing.assert_array_equal(parts[f"{name}_labels"], found[name] * 7)

    def test_of_photos(self, data_dir, monkeypatch):
        monkeypatch.setenv("TF_LEARNPROP_DATA", str(data_dir))
        parts = images.imagenet(32)
        assert set(parts["train_labels"] % 10) <= set(range(7))
        assert set(parts["test_labels"] % 10) <= {7, 8, 9}
        assert len(parts["train"]) + len(parts["test"]) == 700

    def test_a_missing_folder_is_named(self, monkeypatch, tmp_path):
        monkeypatch.delenv("TF_LEARNPROP_DATA", raising=False)
        with pytest.raises(images.MissingData, match="TF_LEARNPROP_DATA does not name"):
            images.folder("cifar10")
        monkeypatch.setenv("TF_LEARNPROP_DATA", str(tmp_path))
        with pytest.raises(images.MissingData, match="cifar10 does not exist"):
            images.folder("cifar10")


class TestUniversalRule:
    @pytest.fixture
    def trained_on(self, monkeypatch):
        """Names of the models of each training, in place of the training."""
        found = []

        def train(names, cache, seed):
            found.append(set(names))
            return universal.HyperNetwork(seed=seed)

        monkeypatch.setattr(universal_rule, "train", train)
        return found

    def test_a_family_or_a_model_is_left_out_and_the_rule_is_kept(self, trained_on, tmp_path):
        everything = set(universal_rule.TRAINED_ON)
        of_cifar = {"cifar_resnet20", "cifar_hub_resnet"}
        for _ in range(2):
            universal_rule.held_out("cifar_resnet20", tmp_path, 0)
            universal_rule.held_out("cifar_resnet20", tmp_path, 0, family=False)
            universal_rule.held_out("animals_vgg", tmp_path, 0)
        assert trained_on == [
            everything - of_cifar,
            everything - {"cifar_resnet20"},
            everything - {"animals_vgg"},
        ]

    def test_of_a_model_that_the_shipped_rule_never_saw_it_is_that_one(self, trained_on, tmp_path):
        found = universal_rule.held_out("imagenet_lite2", tmp_path, 0, family=False)
        assert not trained_on
        for have, expected in zip(found.get_weights(), universal.load().get_weights(), strict=True):
            np.testing.assert_array_equal(have, expected)


class TestModels:
    @pytest.mark.parametrize("name", ["digits_swish", "mnist_inception", "animals_vgg"])
    def test_enlarged_has_the_same_weights(self, name):
        model = small_models._ARCHITECTURES[name]((32, 32, 1), 4)
        larger = small_models.enlarged(name, model, 2)
        assert larger.input_shape == (None, 64, 64, 1)
        for mine, theirs in zip(model.get_weights(), larger.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


class TestBaselines:
    images = np.random.default_rng(0).normal(size=(3, 7, 9, 2)).astype("float32")
    targets = np.array([0, 1, 1])

    def maps(self, name):
        (method,) = (method for method in methods.baselines(0) if method.name == name)
        raw = method.explain(self.images, self.targets)
        return method.variants[0].form(raw, self.images)

    def test_random_differs_by_target_and_repeats(self):
        np.testing.assert_array_equal(self.maps("random"), self.maps("random"))
        (method, *_) = methods.baselines(0)
        assert not np.allclose(method.explain(self.images, self.targets + 1), self.maps("random"))

    def test_centre_is_largest_in_the_middle(self):
        for one in self.maps("centre Gaussian"):
            assert np.unravel_index(one.argmax(), one.shape) == (3, 4)
            np.testing.assert_allclose(one, one[::-1, ::-1], rtol=1e-6)

    def test_edges_are_sobel_filters_of_the_mean_colour(self):
        grey = self.images.mean(-1)
        kernel = np.outer([1, 2, 1], [-1, 0, 1])
        expected = np.zeros((3, 5, 7))
        for row in range(5):
            for column in range(7):
                window = grey[:, row : row + 3, column : column + 3]
                across, along = ((window * k).sum((1, 2)) for k in (kernel, kernel.T))
                expected[:, row, column] = np.hypot(across, along)
        np.testing.assert_allclose(self.maps("Sobel edges")[:, 1:-1, 1:-1], expected, rtol=1e-4)


def test_a_blurred_variant_is_the_form_blurred():
    plain, blurred = methods._each_blurred("signed", methods._sum)
    raw = np.zeros((1, 64, 64, 2), "float32")
    raw[0, 20, 30] = (1.0, 2.0)
    assert (plain.name, blurred.name) == ("signed", "signed, blurred")
    np.testing.assert_allclose(plain.form(raw, None)[0, 20, 30], 3)
    place = np.arange(64)
    weights = [np.exp(-0.5 * ((place - centre) / 2) ** 2) for centre in (20, 30)]
    weights = [one / one.sum() for one in weights]
    np.testing.assert_allclose(blurred.form(raw, None)[0], 3 * np.outer(*weights), atol=1e-6)


class TestTables:
    def results(self):
        def result(fidelity, pointing):
            measures = {"fidelity": fidelity, "fidelity/mean": fidelity, "class_sensitivity": fidelity}
            measures |= {"pointing/2": pointing} if pointing else {}
            return {"passes": 2, "seconds": 0.5, "variant": "", "measures": measures}

        return {"a": result([0.1, 0.3], None), "b": result([0.4, 0.6], [0.25])}

    def table(self):
        sanity = {"randomisation": {"kept": [("head", 0.25, 0.5)]}, "convergence": {"learned": 0.125}}
        return tables.markdown("subject", "heading", self.results(), "a", sanity)

    def test_rows_are_sorted_and_the_best_is_bold(self):
        lines = self.table().splitlines()
        rows = [line for line in lines if line.startswith(("| a |", "| b |"))]
        assert rows[0].startswith("| b | 2 | 0.5 | **.500 [.400, .600]**")
        assert rows[1].startswith("| a | 2 | 0.5 | .200 [.100, .300]")
        # Of class correlation the lowest is best; what was not measured is a dash.
        assert "**.200 [.100, .300]**" in rows[1]
        assert "–" in rows[1]

    def test_differences_are_ours_less_theirs(self):
        text = self.table()
        assert "| b | -.300 [-.300, -.300] |" in text

    def test_sanity(self):
        text = self.table()
        assert "| kept | head | .250 | .500 |" in text
        assert "| .125 |" in text

    def test_summary_has_a_column_a_subject(self):
        both = {"first": self.results(), "second": {"a": self.results()["a"]}}
        lines = tables.summary(both, "fidelity").splitlines()
        assert lines[0] == "| method | first | second |"
        assert lines[2:] == ["| a | .200 | **.200** |", "| b | **.500** | – |"]

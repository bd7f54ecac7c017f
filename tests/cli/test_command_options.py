import argparse

import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop.cli import methods, options
from tf_learnprop.zoo import ModelSpec

MODEL = ["--model", "{model}", "--preprocess", "none"]

BAD = {
    "unknown model": (["--model", "resnet5000", "{photo}"], "--model must be a .keras or .h5 file"),
    "missing model": (["--model", "no.keras", "--preprocess", "none", "{photo}"], "that exists"),
    "no preprocessing": (["--model", "{model}", "{photo}"], "--preprocess must say"),
    "unknown preprocessing": (
        ["--model", "{model}", "--preprocess", "nice", "{photo}"],
        "--preprocess must be one of",
    ),
    "damaged model": (["--model", "{work}/broken.keras", "--preprocess", "none", "{photo}"], "be loaded"),
    "a folder": (["--model", "{work}", "{photo}"], "not a folder"),
    "missing photo": ([*MODEL, "nowhere.jpg"], "no image is found"),
    "missing rules": ([*MODEL, "--rules", "none.keras", "{photo}"], "--rules must be a file that exists"),
    "no image model": (
        ["--model", "{work}/table.keras", "--preprocess", "none", "{photo}"],
        "must take images",
    ),
    "class id": ([*MODEL, "--class", "9", "{photo}"], "--class must be an id in 0..3. Received: 9"),
    "class without names": ([*MODEL, "--class", "cat", "{photo}"], "has no class names"),
    "two classes": (
        [*MODEL, "--class-names", "{names}", "--class", "fox", "{photo}"],
        "red fox (0), arctic fox (1)",
    ),
    "top of none": ([*MODEL, "--top", "0", "{photo}"], "--top must be an int in 1..10. Received: 0"),
    "more than there are": ([*MODEL, "--top", "5", "{photo}"], "--top must be at most 4"),
    "top and a class": ([*MODEL, "--top", "2", "--class", "1", "{photo}"], "can't be used together"),
    "second class": (
        [*MODEL, "--class-names", "{names}", "--class", "cat", "--class", "fox", "{photo}"],
        "--class must match one class name. Received: fox, which matches red fox (0), arctic fox (1)",
    ),
    "unknown method": (
        [*MODEL, "--compare", "saliency,lime", "{photo}"],
        "score_cam, attention_rollout, gradient_x_attention. Received: lime",
    ),
    "unknown style": ([*MODEL, "--style", "dots", "{photo}"], "--style"),
    "tiny pictures": ([*MODEL, "--max-side", "1", "{photo}"], "--max-side must be an int >= 16. Received: 1"),
    "no place to write": ([*MODEL, "--out", "{names}/maps", "{photo}"], "can't be made"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, case):
    arguments, expected = BAD[case]
    assert expected in fails("explain", *arguments)


def test_methods_to_compare_with_are_all_but_the_rules_themselves():
    every = map(tlp.methods.get, tlp.methods.names())
    own = [method for method in every if type(method).__module__.startswith("tf_learnprop.")]
    assert methods.NAMES == {method.name: method.label for method in own if method.name != "learned"}


def test_a_missing_model_comes_before_missing_options(fails):
    for command in (["coverage"], ["explain", "{photo}"], ["export", "--out", "served/1"]):
        assert "--model must be a file that exists" in fails(*command, "--model", "no.keras")


class TestRules:
    @pytest.mark.parametrize(
        ("name", "given", "expected"),
        [
            ("EfficientNet_Lite1", None, "efficientnet_lite1"),
            ("efficientnet_lite1", "universal", "universal"),
            ("efficientnet_lite1", "efficientnet_lite0", "efficientnet_lite0"),
            ("efficientnet_lite1.keras", None, "universal"),
            ("MobileNet", None, "universal"),
        ],
    )
    def test_which(self, name, given, expected):
        assert options.choose_rules(argparse.Namespace(rules=given), ModelSpec(name, None, None)) == expected

    def test_of_the_package_are_named_if_nobody_asked_for_them(self, capsys, monkeypatch):
        monkeypatch.setattr(options.tlp, "wrap_model", lambda model, rule, output: rule)
        spec = ModelSpec("efficientnet_lite0", toys.small_cnn(), None)
        said = "rules: those trained for efficientnet_lite0 (--rules universal for the universal rule)\n"
        for given, quiet, expected in [(None, False, said), (None, True, ""), (spec.name, False, "")]:
            options.wrap(argparse.Namespace(rules=given, quiet=quiet, json=False), spec)
            assert capsys.readouterr().err == expected

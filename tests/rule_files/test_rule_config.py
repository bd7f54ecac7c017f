"""Matching a configuration to a model; what a configuration may hold is in `tests/test_rule_file.py`."""

import copy

import pytest

from tf_learnprop.rule_files import rule_config

STRUCTURE = [["conv", "Conv2D[[3, 3]]"], ["relu", "ReLU[] relu"], ["gelu", "Activation[] gelu"]]
CONFIG = {
    "name": "rules",
    "rules": [
        {"path": "relu", "shape": [None, 4], "class": "a>B", "config": {}},
        {"path": "gelu", "shape": [None, None, 3], "class": "a>B", "config": {"x": [1, {"y": None}]}},
    ],
    "readout": {"class": "a>C", "config": {}},
    "read": ["input", 0, 2],
    "structure": STRUCTURE,
}
RUNS = {"relu_7": 2, "gelu_7": 1}
RENAMED = [[f"{path}_7", signature] for path, signature in STRUCTURE]


def test_takes_the_paths_of_the_model():
    before = copy.deepcopy(CONFIG)
    rule_config.check(CONFIG)
    found = rule_config.for_model(CONFIG, RENAMED, RUNS)
    assert [row["path"] for row in found["rules"]] == ["relu_7", "gelu_7"]
    assert found["structure"] == RENAMED
    rest = ("name", "readout", "read")
    assert {key: found[key] for key in rest} == {key: CONFIG[key] for key in rest}
    assert before == CONFIG


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (RENAMED[:2], r"1 layers differ: gelu Activation\[\] gelu in the file alone"),
        ([*RENAMED, ["new", "Dense[]"]], r"1 layers differ: new Dense\[\] in the model alone"),
        (
            [RENAMED[0], ["relu_7", "ReLU[]"], RENAMED[2]],
            r"1 layers differ: relu ReLU\[\] relu in the file, relu_7 ReLU\[\] in the model",
        ),
        ([["a", "b" * 1000]] * 9, "9 layers differ: .*; …$"),
    ],
)
def test_another_structure(structure, message):
    with pytest.raises(ValueError, match=message) as error:
        rule_config.for_model(CONFIG, structure, RUNS)
    assert len(str(error.value)) < 5000


def test_positions_count_runs():
    with pytest.raises(ValueError, match="must hold positions below 2, the number of activation runs"):
        rule_config.for_model(CONFIG, RENAMED, {**RUNS, "relu_7": 1})


def test_rules_need_an_activation():
    with pytest.raises(ValueError, match=r"no activation to replace: \['gelu'\]"):
        rule_config.for_model(CONFIG, RENAMED, {"relu_7": 3})


@pytest.mark.parametrize("key", ["name", "rules", "readout", "read", "structure"])
def test_missing_parts(key):
    with pytest.raises(ValueError, match=f"Missing: {key}"):
        rule_config.check({name: value for name, value in CONFIG.items() if name != key})


def test_not_a_dict():
    with pytest.raises(ValueError, match="must be a dict. Received: 'text'"):
        rule_config.check("text")

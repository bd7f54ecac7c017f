"""`serving.contract`: the names that exported models have are those of the contract."""

import tensorflow as tf

from tf_learnprop.serving import contract


def test_signatures_inputs_and_outputs(small):
    signatures = tf.saved_model.load(small).signatures
    expected = {
        "serving_default": (["images"], ["class_ids", "maps", "probabilities"]),
        "explain_class": (["class_ids", "images"], ["class_ids", "maps", "probabilities"]),
        "explain_encoded": (["encoded"], ["class_ids", "maps", "overlays_bytes", "probabilities"]),
        "explain_encoded_class": (
            ["class_ids", "encoded"],
            ["class_ids", "maps", "overlays_bytes", "probabilities"],
        ),
        "classify_encoded": (["encoded"], ["probabilities"]),
    }
    assert set(signatures) == set(expected)
    for name, (inputs, outputs) in expected.items():
        assert sorted(signatures[name].structured_input_signature[1]) == inputs
        assert sorted(signatures[name].structured_outputs) == outputs


def test_inputs_stand_in_the_order_of_the_signature():
    own = {"photo": 1, "age": 2}
    assert list(contract.EXPLAIN_CLASS.inputs(own, 3, 4).items()) == [*own.items(), ("class_ids", 4)]
    assert contract.SERVING_DEFAULT.inputs(own, 3, 4) == own == {"photo": 1, "age": 2}
    assert contract.CLASSIFY_ENCODED.inputs(own, 3, 4) == {"encoded": 3}
    assert contract.EXPLAIN_ENCODED_CLASS.inputs(own, 3, 4) == {"encoded": 3, "class_ids": 4}

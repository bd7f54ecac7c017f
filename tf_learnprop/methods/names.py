"""What tells a class from its rivals, other names of the same object among them."""

from typing import Any

import keras

from tf_learnprop import readouts
from tf_learnprop.methods.base import Explainer, Need, explained_of, register
from tf_learnprop.methods.one_pass import OnePassMethod
from tf_learnprop.model import PropagationModel


@register("names")
class Names(OnePassMethod):
    """The rules with `contrast="names"`; see `tf_learnprop.readouts.MultiLayerReadout`.

    Of a wrapped model with a `MultiLayerReadout` its own rules, of any other model the universal rule.
    """

    label = "rules, names compete"
    source = "this package"
    needs = (Need.COMPETITION,)
    signed = True
    rule = "universal"

    def make_readout(self) -> readouts.Readout:
        return readouts.MultiLayerReadout(contrast="names")

    def on(self, model: keras.Model, **ends: Any) -> Explainer:
        readout = model.rule_set.readout if isinstance(model, PropagationModel) else None
        if type(readout) is not readouts.MultiLayerReadout:
            return super().on(model, **ends)
        explained_of(model, **ends)  # refuses ends
        return model.with_contrast("names")

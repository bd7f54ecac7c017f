"""The universal rule: weights for the rules and the readout of any model, without training on that model.

A hypernetwork (Ha et al. 2016, arXiv 1609.09106), that is, a network whose outputs are the weights of
another, computes them from the position of each layer in the model: how deep it is, and how large its maps
are. The results are ordinary `RelevanceRule`s and an ordinary `MultiLayerReadout`, which can be trained
further.
"""

from tf_learnprop.universal.hypernetwork import (
    HyperNetwork,
    initialise,
    load,
    position_features,
    size_features,
)

__all__ = ["HyperNetwork", "initialise", "load", "position_features", "size_features"]

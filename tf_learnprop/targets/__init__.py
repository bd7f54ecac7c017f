"""What is explained of a model: classes, regions, values, similarities, tokens, or a score of your own.

They stand wherever `targets` are asked for, as in `wrapped.explain(images, targets.Region(mask))`.
"""

from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.boxes import Anchors, Box, Detection
from tf_learnprop.targets.classes import Classes
from tf_learnprop.targets.contrast import Contrast
from tf_learnprop.targets.detectors import retina_net
from tf_learnprop.targets.per_sample import PerSample
from tf_learnprop.targets.regions import Pixel, Region
from tf_learnprop.targets.tokens import Token
from tf_learnprop.targets.values import Score, Similarity, Value

__all__ = [
    "Anchors",
    "Asked",
    "Box",
    "Classes",
    "Contrast",
    "Detection",
    "Outputs",
    "PerSample",
    "Pixel",
    "Region",
    "Score",
    "Similarity",
    "Target",
    "Token",
    "Value",
    "retina_net",
]

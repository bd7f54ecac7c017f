"""Figures, drawn with matplotlib on a new figure or on the figure or axes that you pass.

`overlay`, `contour`, `compare` and `curves` draw arrays of any attribution method; `regions`, `boxes`,
`slices`, `signal` and `tokens` those of segmenters, detectors, volumes, series and texts, and `inputs` those
of all inputs of a model. `gallery` shows many photos with their maps in a notebook or a browser, and an
`Explanation` is one of them. `rule_response` and `layer_contributions` show what a wrapped model has learned.
Nothing is shown or saved, and pyplot's state does not change: call `figure.savefig(path)`, or end a notebook
cell with the figure (`ax.figure` for axes).
"""

from tf_learnprop.plotting._contours import contour
from tf_learnprop.plotting._curves import curves
from tf_learnprop.plotting._explanation import ClassMap, Explanation
from tf_learnprop.plotting._gallery import Gallery, gallery
from tf_learnprop.plotting._inputs import inputs
from tf_learnprop.plotting._learned import layer_contributions, rule_response
from tf_learnprop.plotting._overlay import compare, overlay
from tf_learnprop.plotting._signal import signal
from tf_learnprop.plotting._slices import slices
from tf_learnprop.plotting._targets import boxes, regions
from tf_learnprop.plotting._tokens import tokens

__all__ = [
    "ClassMap",
    "Explanation",
    "Gallery",
    "boxes",
    "compare",
    "contour",
    "curves",
    "gallery",
    "inputs",
    "layer_contributions",
    "overlay",
    "regions",
    "rule_response",
    "signal",
    "slices",
    "tokens",
]

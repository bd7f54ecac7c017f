"""Figures, on a matplotlib figure of their own or on what is given; pyplot's state is not touched.

`overlay`, `compare` and `curves` draw plain arrays of any method; `rule_response` and `layer_contributions`
show what a wrapped model has learned. Nothing is shown or saved: `figure.savefig(path)` saves, a notebook
shows the figure that a cell ends with (of axes, `ax.figure`).
"""

from tf_learnprop.plotting._curves import curves
from tf_learnprop.plotting._learned import layer_contributions, rule_response
from tf_learnprop.plotting._pictures import compare, overlay

__all__ = ["compare", "curves", "layer_contributions", "overlay", "rule_response"]

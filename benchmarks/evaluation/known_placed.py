"""A table of `known_answer` for models that move places: crops, pads, slices, flips, two inputs.

The models are those of `tests/placed_models.py`, whose weights are set by hand: the class is there if any
place is bright. Each image has one bright spot, at a place that all models see.
"""

import functools
import warnings

import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import results, tables
from tests import placed_models

NAME = "placed"

_SIZE = 12
#: The first rows and columns of spots, drawn from these ranges.
_ROWS, _COLUMNS = (50, 64), (16, 68)

METHODS = {
    "default": {},
    "gradient, multi-layer readout": {"rule": "gradient", "readout": "multi_layer"},
    "gradient × input": {"rule": "gradient", "readout": "input"},
    "Grad-CAM": {"rule": "gradient", "readout": "grad_cam"},
}

_ONE_INPUT = {
    **{name: functools.partial(placed_models.model, front) for name, front in placed_models.FRONTS.items()},
    **{
        name: functools.partial(placed_models.model, body=body) for name, body in placed_models.BODIES.items()
    },
    "Patches by reshape": functools.partial(placed_models.spots_of_tokens, placed_models.patches_by_reshape),
}
_TWO_INPUTS = {
    "Two branches": placed_models.two_branches,
    "Siamese": placed_models.siamese,
    "Joined in the last layer": placed_models.joined,
    "Added early": placed_models.added_early,
    "Stacked as channels": placed_models.stacked,
}


def chapter(store, arguments):
    """The table: for each model and method, the share of the top pixels on the spot."""
    spots = _spots(arguments.images, arguments.seed)
    images = np.concatenate([placed_models.images(spot, seed) for seed, spot in enumerate(spots)])
    masks = np.zeros(images.shape[:3], bool)
    for mask, spot in zip(masks, spots, strict=True):
        mask[spot] = True
    empty = np.concatenate([placed_models.without_spot(1000 + seed) for seed in range(len(images))])
    kept = functools.partial(_kept, store, results.arrays_digest([images, empty]))
    rows = []
    for name, build in _ONE_INPUT.items():
        rows.append([name, *(kept(name, method, build, images, masks) for method in METHODS)])
    for name, build in _TWO_INPUTS.items():
        for which in ("ct", "mr"):
            title = f"{name}, {'the input with the spot' if which == 'ct' else 'the empty input'}"
            both = [images, empty]
            rows.append([title, *(kept(name, method, build, both, masks, which) for method in METHODS)])
    heading = (
        f"{len(images)} images with one bright spot of {_SIZE} × {_SIZE} pixels. Share of as many top pixels "
        f"on it; chance is {_SIZE**2 / masks[0].size:.3f}."
    )
    return "\n\n".join([f"## {NAME}", heading, tables.table(["model", *METHODS], rows)])


def share_on(maps, masks):
    """Of each map, the share of its top pixels, as many as the evidence has, that lie on it."""
    return [
        float(mask.ravel()[np.argsort(-one.ravel(), kind="stable")[: mask.sum()]].mean())
        for one, mask in zip(maps, masks, strict=True)
    ]


def measured(build, method, inputs, masks, explained_input=0):
    """The shares of a method's maps; None where it refuses the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the table shows
        try:
            wrapped = tlp.wrap_model(build(), **METHODS[method], explained_input=explained_input)
        except ValueError:
            return None
        return share_on(wrapped.explain(inputs, 1), masks)


def _spots(count, seed):
    generator = np.random.default_rng(seed)
    corners = [[generator.integers(*ends) for ends in (_ROWS, _COLUMNS)] for _ in range(count)]
    return [tuple(slice(first, first + _SIZE) for first in corner) for corner in corners]


def _kept(store, digest, name, method, build, inputs, masks, explained_input=0):
    shares = store.get_or_compute(
        {"placed": name, "method": METHODS[method], "images": digest, "input": explained_input},
        (*results.RULES, "tests/placed_models.py", measured, share_on),
        lambda: {"share": measured(build, method, inputs, masks, explained_input)},
    )["share"]
    return "refused" if shares is None else tables.interval(shares)

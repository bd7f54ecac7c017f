"""What a wrapped model has learned: the response of a rule, and the layers' share of a map."""

import math

import matplotlib
import numpy as np
import tensorflow as tf

from tf_learnprop.backward import graph, readouts, rules
from tf_learnprop.backward.attributor import Attributor, rule_layers
from tf_learnprop.backward.rule_set import RuleSet
from tf_learnprop.inputs import batches
from tf_learnprop.plotting import _figures, _heat, _pictures

#: The hand-crafted rules drawn beside a layer's own, with looks that stay apart where they coincide.
_BESIDE = {
    "gradient": {"linestyle": "-", "linewidth": 3.5, "color": "#d9d9d9"},
    "guided_backprop": {"linestyle": (0, (6, 3)), "linewidth": 1.5, "color": "#8c8c8c", "zorder": 3},
    "deconvnet": {"linestyle": (0, (1, 2)), "linewidth": 1.5, "color": "#404040", "zorder": 3},
}
_BESIDE_X = 1.0
_XS = (-1.0, 0.5, 1.0, 2.0)
_DYS = np.linspace(-3, 3, 33, dtype=np.float32)
#: Pixels a side of the probe, at most, and samples over which its response is averaged.
_SIDE, _SAMPLES = 8, 4


def rule_response(wrapped, layer=None, *, ax=None):
    """What the rule of a layer hands back, dx, for what arrives, dy, at several inputs x.

    A rule may look at other pixels and channels (the learned ones divide by the sample's root mean square),
    so its response is that to a probe: samples of at most 8 pixels a side, whose x and dy are standard
    normal from pixel to pixel and the same in all channels of a pixel. One pixel's x is set and its dy
    swept; dx is the mean over its channels and over 4 samples, two of which are the others with −dy for dy
    elsewhere. In a layer without pixels, the features take their place. Drawn too, at x = 1: the gradient,
    guided backprop and the deconvnet rule.

    A probe is not a photo: there, channels differ, and the gate is seldom driven as far.

    Args:
        wrapped: `PropagationModel`; its rules may be of any kind.
        layer: str, path of a swapped layer (`wrapped.coverage.swapped`); None for the layer whose rule
            departs most from the gradient on such samples: mean of |dx − gradient| over that of |gradient|.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`. Its lines are labelled "x = …" and by the names of the hand-crafted rules.

    Raises:
        ValueError: a layer that is not swapped.
        TypeError: `ax` is no axes.
    """
    paths = wrapped.rule_set.paths
    if layer is not None and layer not in paths:
        raise ValueError(f"`layer` must be one of {', '.join(map(repr, paths))}. Received: layer={layer!r}")
    axis = _figures.axes(ax, 4, 3.4)
    layer = layer or max(paths, key=lambda path: _Probe(wrapped, path).departure())
    for name, style in _BESIDE.items():
        response = _Probe(wrapped, layer, rules.get(name)).response(_BESIDE_X)
        axis.plot(_DYS, response, label=f"{name.replace('_', ' ')}, x = {_BESIDE_X:g}", **style)
    probe = _Probe(wrapped, layer)
    # Dark to light with x, short of the yellow that is lost on white.
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.8, len(_XS)))
    for x, colour in zip(_XS, colours, strict=True):
        axis.plot(_DYS, probe.response(x), color=colour, label=f"x = {x:g}")
    axis.set(xlabel="dy, signal that arrives", ylabel="dx, signal handed on", title=layer)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper left", frameon=False, fontsize="x-small")
    return axis


class _Probe:
    """A layer's activation with its own rule or another, and samples to ask it; see `rule_response`."""

    def __init__(self, wrapped, path, rule=None):
        rule_set = wrapped.rule_set
        index = rule_set.paths.index(path)
        layers = rule_layers(wrapped.source, {path: rule or rule_set.rules[index]})
        self.layer = dict(layers.values())[path]
        _, *sides, channels = rule_set.shapes[index]
        # An activation with weights (PReLU) may have some for each pixel.
        most = math.inf if getattr(self.layer.activation, "weights", None) else _SIDE
        self.sides = [_SIDE if side is None else min(side, most) for side in sides]
        self.channels = channels or _SIDE
        positions = math.prod(self.sides) if sides else self.channels
        x, dy = np.random.default_rng(0).standard_normal((2, _SAMPLES // 2, positions), np.float32)
        self.x, self.dy = np.concatenate([x, x]), np.concatenate([dy, -dy])

    def response(self, x):
        """The mean dx at the first position for each of `_DYS`, float32 `[33]`."""
        xs, responses = self.x.copy(), []
        xs[:, 0] = x
        for dy in _DYS:
            dys = self.dy.copy()
            dys[:, 0] = dy
            responses.append(self._dx(xs, dys)[:, 0].mean())
        return np.array(responses)

    def departure(self):
        """Mean of |dx − gradient| over the mean of |gradient|."""
        x, dy = (self._spread(values) for values in (self.x, self.dy))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.layer.activation(x)
        gradient = tape.gradient(y, x, dy).numpy().reshape(*self.x.shape, -1)
        return np.abs(self._dx(self.x, self.dy) - gradient).mean() / np.abs(gradient).mean()

    def _dx(self, x, dy):
        """NumPy `[samples, positions, channels]`; of a layer without pixels, 1 in place of the channels."""
        tensor = self._spread(x)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            y = self.layer(tensor)
        return tape.gradient(y, tensor, self._spread(dy)).numpy().reshape(*x.shape, -1)

    def _spread(self, values):
        """From `[samples, positions]` to what the layer takes."""
        if self.sides:
            values = np.repeat(values.reshape(-1, *self.sides, 1), self.channels, -1)
        return tf.constant(values, self.layer.compute_dtype)


def layer_contributions(wrapped, image, *, target=None, fig=None):
    """The readout's weights, layer by layer, and what each layer adds to the map of an image.

    Left, w_l and β_l as in `MultiLayerReadout`, first layer on top. Right, the terms of its sum at the
    image's size, all on one scale (99th percentile of their absolute values; red speaks for the class, blue
    against it); their sum is the map of `wrapped.explain`.

    Args:
        wrapped: `PropagationModel` with a `MultiLayerReadout` and one input.
        image: `[h, w, c]`, preprocessed as for `wrapped.explain`.
        target: None for the predicted class, or an int class id.
        fig: matplotlib `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`. Its first two axes are the bars of w and β, then comes a map a layer.

    Raises:
        ValueError: a model with another readout, without pixels or with several inputs; an image of the
            wrong shape or not finite; a target out of range.
        TypeError: `fig` is no figure; a target of another type.
    """
    readout = wrapped.rule_set.readout
    if not isinstance(readout, readouts.MultiLayerReadout):
        raise ValueError(
            "`wrapped` must have a `MultiLayerReadout`, wrap_model(..., readout='multi_layer'): another "
            f"reads no layers. Received: readout={type(readout).__name__}"
        )
    walked = graph.graph_of(wrapped.source)
    if len(walked.inputs) != 1 or len(walked.inputs[0].shape) != 4:
        shapes = [tuple(tensor.shape) for tensor in walked.inputs]
        raise ValueError(f"`wrapped` must have one input, of images [n, h, w, c]. Received: {shapes}")
    _, stream = batches.split(np.asarray(image)[None], target, walked, wrapped.class_count, 1)
    inputs, class_weights = next(stream)
    maps = _terms(wrapped, inputs, class_weights)
    names = _names_read(wrapped, inputs)
    rows = math.ceil(math.sqrt(len(maps)))
    columns = math.ceil(len(maps) / rows)
    fig = _figures.figure(fig, 4.5 + 1.1 * columns, max(3, 1.25 * rows))
    left, right = fig.subfigures(1, 2, width_ratios=(4.5, 1.1 * columns))
    bars = left.subplots(1, 2, sharey=True)
    for axis, values, name in zip(bars, readout.layer_weights().numpy(), ("w", "β"), strict=True):
        axis.barh(np.arange(1, len(maps) + 1), values, color="#0072B2")
        axis.set_title(name)
        axis.spines[["top", "right"]].set_visible(False)
    numbered = [f"{name}  {number}" for number, name in enumerate(names, 1)]
    bars[0].set_yticks(np.arange(1, len(maps) + 1), numbered, fontsize=7)
    bars[0].set_ylim(len(maps) + 0.5, 0.5)
    bars[1].set_xlim(0, 1)
    grid = right.subplots(rows, columns, squeeze=False).flat
    _, (full,) = _heat.heat(maps.reshape(1, -1, maps.shape[-1]), signed=True)  # one scale for all
    for number, (axis, values) in enumerate(zip(grid, maps, strict=False), 1):
        _pictures.draw(axis, values, float(full), signed=True)
        _figures.bare(axis)
        axis.set_title(number, fontsize=7, pad=2)
    for axis in grid[len(maps) :]:
        axis.remove()
    return fig


class _Terms(readouts.Readout):
    """The terms of a `MultiLayerReadout`'s sum at the image's size, `[n, layers, h, w]`."""

    def __init__(self, readout):
        super().__init__(readout.blur)
        self.readout = readout

    def call(self, image, image_signal, activations, signals):
        terms, relevance = self.readout.terms(activations, signals)
        focused = [self.readout.focused(term, relevance) for term in terms]
        return tf.stack([self.to_image(term, image) for term in focused], 1)


def _terms(wrapped, inputs, class_weights):
    """NumPy `[layers, h, w]`, the maps that the readout adds up for a batch of one."""
    own = wrapped.rule_set
    entries = zip(own.paths, own.rules, own.shapes, strict=True)
    rule_set = RuleSet(list(entries), _Terms(own.readout), own.read, own.structure)
    attributor = Attributor(wrapped.source, rule_set, wrapped.output_index, wrapped.input_index)
    return attributor.maps(inputs, class_weights)[0].numpy()


def _names_read(wrapped, inputs):
    """What the readout reads, by layer path; a path comes once for each run of its layer."""
    paths = [path for path, _ in wrapped.attributor.runner(inputs).activations]
    return ["input" if position == readouts.INPUT else paths[position] for position in wrapped.rule_set.read]

"""What a wrapped model has learned: the response of a rule, and the contribution of each layer to a map."""

import itertools
import math
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from tf_learnprop import argument_checks, heat, readouts, rules
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.backward.runner import rule_layers
from tf_learnprop.inputs import batches
from tf_learnprop.layers import RuleActivation
from tf_learnprop.plotting import _figures, _overlay
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Target

if TYPE_CHECKING:  # the model's own exports draw heat maps
    from tf_learnprop.model import PropagationModel

#: Styles of the hand-made rules drawn beside a layer's own, which differ even where the lines coincide.
_BESIDE: tuple[dict[str, Any], ...] = (
    {"linestyle": "-", "linewidth": 3.5, "color": "#d9d9d9"},
    {"linestyle": (0, (1, 2)), "linewidth": 1.5, "color": "#404040", "zorder": 3},
    {"linestyle": (0, (6, 3)), "linewidth": 1.5, "color": "#8c8c8c", "zorder": 3},
    {"linestyle": (0, (4, 2, 1, 2)), "linewidth": 1.5, "color": "#666666", "zorder": 3},
)
_BESIDE_X = 1.0
_XS = (-1.0, 0.5, 1.0, 2.0)
_DYS = np.linspace(-3, 3, 33, dtype=np.float32)
#: Largest side of the probe in pixels, and number of samples that its response is averaged over.
_SIDE, _SAMPLES = 8, 4


def rule_response(wrapped: "PropagationModel", layer: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draws the signal dx that a layer's rule returns, as a function of the signal dy that it receives.

    There is one line for each of several inputs x. The gradient, guided backprop and the deconvnet rule are
    drawn at x = 1 for comparison.

    A rule may depend on other pixels and channels (the learned ones divide by the sample's root mean square).
    The response is therefore measured on a probe: 4 samples of at most 8 × 8 pixels, whose x and dy are
    standard normal and equal in all channels of a pixel; two of the samples are the other two with the sign
    of dy reversed. In each sample, x and dy of the first pixel are set to the values drawn; dx is the mean
    over the channels of that pixel and over the samples. In a layer without pixels, features take the place
    of pixels. Unlike in a probe, channels of a photo differ, and gates are rarely driven as far.

    Args:
        wrapped: The wrapped model; its rules may be of any type.
        layer: Path of a layer with a rule (see `wrapped.coverage`). None: the layer whose rule differs most
            from the gradient, by the mean of |dx − gradient| over the mean of |gradient| on the probe.
            Rules at attention, normalisation, products and recurrent layers have no such response.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`. Its lines are labelled "x = …" and with the names of the hand-crafted rules.

    Raises:
        ValueError: If the layer is no activation with a rule, or if the model has none.
        TypeError: If `ax` is no axes.
    """
    activations = {site.path for site in wrapped.graph.activations if site.kind == "activation"}
    paths = [path for path in wrapped.rule_set.paths if path in activations]
    if not paths:
        raise ValueError(
            f"`wrapped` must have a rule behind an activation. Received: rules at {wrapped.rule_set.paths}"
        )
    if layer is not None:
        argument_checks.one_of("layer", layer, paths)
    axis = _figures.axes(ax, 4, 3.4)
    layer = layer or max(paths, key=lambda path: _Probe(wrapped, path).departure())
    for name, style in zip(_beside(wrapped, layer), itertools.cycle(_BESIDE), strict=False):
        response = _Probe(wrapped, layer, rules.get(name)).response(_BESIDE_X)
        axis.plot(_DYS, response, label=f"{name.replace('_', ' ')}, x = {_BESIDE_X:g}", **style)
    probe = _Probe(wrapped, layer)
    # Dark to light with x, without the yellow end, which is hard to see on white.
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.8, len(_XS)))
    for x, colour in zip(_XS, colours, strict=True):
        axis.plot(_DYS, probe.response(x), color=colour, label=f"x = {x:g}")
    axis.set(xlabel="dy, signal received", ylabel="dx, signal returned", title=layer)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper left", frameon=False, fontsize="x-small")
    return axis


def _beside(wrapped: "PropagationModel", path: str) -> list[str]:
    """Names of the hand-made rules that suit a layer."""
    site = next(site for site in wrapped.graph.activations if site.path == path)
    return [name for name in rules.handmade() if rules.get(name).suits(site)]


class _Probe:
    """A layer's activation with its own or another rule, and the samples that it is measured on."""

    def __init__(self, wrapped: "PropagationModel", path: str, rule: rules.PropagationRule | None = None):
        rule_set = wrapped.rule_set
        index = rule_set.paths.index(path)
        layers = rule_layers(wrapped.graph, {path: rule or rule_set.rules[index]})
        self.layer = cast(RuleActivation, dict(layers.values())[path])
        _, *sides, channels = rule_set.shapes[index]
        # An activation with weights (PReLU) may have weights for each pixel.
        most: Any = math.inf if getattr(self.layer.activation, "weights", None) else _SIDE
        self.sides = [_SIDE if side is None else min(side, most) for side in sides]
        self.channels = channels or _SIDE
        positions = math.prod(self.sides) if sides else self.channels
        x, dy = np.random.default_rng(0).standard_normal((2, _SAMPLES // 2, positions), np.float32)
        self.x, self.dy = np.concatenate([x, x]), np.concatenate([dy, -dy])

    def response(self, x: float) -> np.ndarray:
        """The mean dx at the first position for each of `_DYS`, float32 `[33]`."""
        # One batch, as a rule looks at each sample alone.
        xs, dys = (np.tile(values, (len(_DYS), 1)) for values in (self.x, self.dy))
        xs[:, 0], dys[:, 0] = x, np.repeat(_DYS, _SAMPLES)
        return self._dx(xs, dys)[:, 0].reshape(len(_DYS), -1).mean(1)

    def departure(self) -> float:
        """Mean of |dx − gradient| over the mean of |gradient|."""
        x, dy = (self._spread(values) for values in (self.x, self.dy))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.layer.activation(x)
        gradient = tape.gradient(y, x, dy).numpy().reshape(*self.x.shape, -1)
        return np.abs(self._dx(self.x, self.dy) - gradient).mean() / np.abs(gradient).mean()

    def _dx(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Array `[samples, positions, channels]`, with one channel for a layer without pixels."""
        tensor = self._spread(x)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            y = self.layer(tensor)
        return tape.gradient(y, tensor, self._spread(dy)).numpy().reshape(*x.shape, -1)

    def _spread(self, values: np.ndarray) -> tf.Tensor:
        """Reshapes `[samples, positions]` to the layer's input."""
        if self.sides:
            values = np.repeat(values.reshape(-1, *self.sides, 1), self.channels, -1)
        return tf.constant(values, self.layer.compute_dtype)


def layer_contributions(
    wrapped: "PropagationModel",
    image: npt.ArrayLike,
    *,
    target: int | None = None,
    fig: FigureBase | None = None,
) -> FigureBase:
    """Draws the readout's weights for each layer, and what each layer adds to the map of an image.

    On the left are the bars of w_l and β_l (see `MultiLayerReadout`), with the first layer at the top. On the
    right are the terms of the readout's sum, resized to the image. Their sum, less the map's zero, is the map
    of `wrapped.explain`; the zero is one number, and stands above them. A readout with `signed=False` has
    none. All terms have one scale, the 99th percentile of their absolute values. Red is evidence for the
    class, blue against it.

    Args:
        wrapped: A wrapped model with a `MultiLayerReadout` and one input.
        image: `[h, w, c]`, preprocessed as for `wrapped.explain`.
        target: Class id; None for the predicted class.
        fig: `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`. Its first two axes are the bars of w and β; the others are the maps.

    Raises:
        ValueError: If the model has another readout, no image input or several inputs; if the image has the
            wrong shape or is not finite; or if the target is out of range.
        TypeError: If `fig` is no figure, or `target` has another type.
    """
    readout = wrapped.rule_set.readout
    if not isinstance(readout, readouts.MultiLayerReadout):
        raise ValueError(
            "`wrapped` must have a `MultiLayerReadout`, as by wrap_model(..., readout='multi_layer'). "
            f"Received: readout={type(readout).__name__}"
        )
    if len(wrapped.graph.inputs) != 1 or len(wrapped.graph.inputs[0].shape) != 4:
        shapes = [tuple(tensor.shape) for tensor in wrapped.graph.inputs]
        raise ValueError(f"`wrapped` must have one input, of images [n, h, w, c]. Received: {shapes}")
    asked = choosing.arrays(target, wrapped.explained)
    _, stream = batches.split(np.asarray(image)[None], asked, wrapped.graph, 1)
    inputs, asked = next(stream)
    maps = _terms(wrapped, inputs, asked)
    names = _names_read(wrapped, inputs)
    zero = (maps.sum(0) - wrapped.attributor.maps(inputs, asked)[0].numpy()).mean()
    rows = math.ceil(math.sqrt(len(maps)))
    columns = math.ceil(len(maps) / rows)
    fig = _figures.figure(fig, 4.5 + 1.1 * columns, max(3, 1.25 * rows))
    left, right = fig.subfigures(1, 2, squeeze=False, width_ratios=(4.5, 1.1 * columns))[0]
    bars = left.subplots(1, 2, sharey=True)
    for axis, values, name in zip(bars, readout.layer_weights().numpy(), ("w", "β"), strict=True):
        axis.barh(np.arange(1, len(maps) + 1), values, color="#0072B2")
        axis.set_title(name)
        axis.spines[["top", "right"]].set_visible(False)
    numbered = [f"{name}  {number}" for number, name in enumerate(names, 1)]
    bars[0].set_yticks(np.arange(1, len(maps) + 1), numbered, fontsize=7)
    bars[0].set_ylim(len(maps) + 0.5, 0.5)
    bars[1].set_xlim(0, 1)
    if readout.signed:
        right.suptitle(f"map = sum − {zero:.3g}", fontsize=9)
    grid = right.subplots(rows, columns, squeeze=False).flat
    _, (full,) = heat.heat(maps.reshape(1, -1, maps.shape[-1]), signed=True)  # one scale for all
    for number, (axis, values) in enumerate(zip(grid, maps, strict=False), 1):
        _overlay.draw(axis, values, float(full), signed=True)
        _figures.bare(axis)
        axis.set_title(number, fontsize=7, pad=2)
    for axis in grid[len(maps) :]:
        axis.remove()
    return fig


class _Terms(readouts.Readout):
    """The terms of a `MultiLayerReadout`'s sum at the image's size, `[n, layers, h, w]`."""

    def __init__(self, readout: readouts.MultiLayerReadout):
        super().__init__(readout.blur)
        self.readout = readout
        self.needs = readout.needs

    def call(self, signals: readouts.Signals) -> tf.Tensor:
        terms, relevance = self.readout.terms(signals.activations, signals.signals)
        focus = self.readout.focus_of(relevance, signals.evidence, signals.focus_places, signals.focus_mask)
        pairs = list(zip(terms, signals.places_read, strict=True))
        return tf.stack(self.readout.on_pixels(pairs, focus, signals), 1)


def _terms(wrapped: "PropagationModel", inputs: Any, target: Target) -> np.ndarray:
    """The maps that the readout sums for a batch of one, array `[layers, h, w]`."""
    own = wrapped.rule_set
    entries = zip(own.paths, own.rules, own.shapes, strict=True)
    rule_set = RuleSet(list(entries), _Terms(own.readout), own.read, own.structure)
    attributor = Attributor(wrapped.explained, rule_set)
    return attributor.maps(inputs, target)[0].numpy()


def _names_read(wrapped: "PropagationModel", inputs: Any) -> list[str]:
    """Paths of the layers that the readout reads; a path is repeated for each call of its layer."""
    paths = [path for path, _ in wrapped.attributor.runner(inputs).activations]
    names = {readouts.INPUT: "input", readouts.FEATURE_MAP: "feature map"}
    return [names[place] if isinstance(place, str) else paths[place] for place in wrapped.rule_set.read]

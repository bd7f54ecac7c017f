"""The readout of many layers, in which classes compete."""

import reprlib
from typing import Any

import tensorflow as tf

from tf_learnprop import resampling, tracing
from tf_learnprop.readouts.base import Readout, Shape, inverse_rms, number
from tf_learnprop.rules.base import register

_MAX_RIVALS = 64
_MAX_FOCUS = 1000.0
_MAX_REGION = 1000.0
#: What a region keeps of its relevance if another class has it. Less would be lost in float32.
_LEAST_SHARE = 0.01
_MAX_SIDE = 2**24


@register
class MultiLayerReadout(Readout):
    """Weighted sum of the relevances of many layers: A = Σ_l f_l·w_l·(P_l − β_l·N_l)/rms(P_l + N_l), resized.

    P_l = Σ_c relu(y_l·dy_l) is the relevance in favour of the class, N_l = Σ_c relu(−y_l·dy_l) the
    relevance against it. w_l >= 0 and β_l in (0, 1) are learned. β sets how much of N counts. With β = 1,
    the terms of linear bottlenecks nearly cancel, and only the relevance of the last layer ranks pixels
    better than chance. With β = 0, every layer ranks them well, but the map is almost the same for every
    class. Values between them give maps that are both accurate and specific to the class.

    f is the focus, which lowers the relevance of all layers at places that don't speak for the class. Classes
    compete for each place p of the last feature map a, the last tensor in which places are still apart and
    which all paths to the output pass. R_k(p) = Σ_c a_c(p)·∂s_k/∂a_c is the evidence for class k there, s_k
    its logit, less the mean over the classes. The class that is asked for competes with its `rivals`, the
    classes with the largest logits, for the place and for the region around it:

        f(p) = softmax_k(κ·R_k(p)/rms(R)) · g(p),  g(p) = 0.01 + 0.99·softmax_k(κ·R̄_k(p)/rms(R̄))

    R̄ is R after a Gaussian blur. The first factor says where in a region the evidence is, and the second one
    which regions are the class's own; the 0.01 keeps the order of the pixels in the others. A single unit,
    and a label that is independent of others, competes with its own absence. f is resized to each layer. κ is
    learned; it starts at `focus` and stays above `focus_floor` times that, since training alone would let
    maps of different classes become alike. Compare VAR (arXiv 2503.07346), which makes a map for each of
    several classes.

    Without rivals, or if there is no such feature map, f = sigmoid(κ·h/rms(h)), where h = P_L − N_L is the
    relevance of the last layer L that is read.

    The zero of A is what a place of average relevance would have in the class's own region if no class won
    it: 1/K times the largest g times the mean over all places of the sum without f, where K classes compete
    (½ for a sigmoid). So A is positive where a place speaks for the class more than for its rivals, or is
    more relevant than most.

    The sum runs over the activations that have the rank of the input and from 2 to `max_size` pixels a
    side. It includes the input itself if it is not larger than that: y·dy is then input times gradient.
    Maps of the same size are summed first, so that each size is resized only once.

    Args:
        blur: float from 0 to 1; see `Readout`.
        max_size: int >= 2 or None, largest side of an activation that is read. None reads all. Early layers
            are the largest and get the least weight; leaving them out also ends the backward pass sooner.
        focus: float from 0 to 1000, initial value of κ. With 0 there is no focus, and no weight for it.
        rivals: int from 0 to 64, number of classes that compete with the one that is asked for. Each costs a
            backward pass through the layers after the last feature map.
        signed: bool, whether A has this zero. Without it, or without a focus, A is positive nearly
            everywhere. The order of the pixels is the same.
        focus_floor: float from 0 to 1, lower limit of κ as a share of `focus`.
        region: float from 0 to 1000, standard deviation of the blur in R̄, in places of the last feature map.
            With 0, f is the first factor alone.
    """

    #: w = softplus(RATE·u + START), β = sigmoid(RATE·u) and κ = focus·(φ + (1 − φ)·softplus(RATE·u + START)),
    #: φ being `focus_floor`. Each u starts at 0, so w starts at 1, β at ½ and κ at `focus`. These few dozen
    #: values start far from their optimum. RATE makes them move ten times faster under Adam than the weights
    #: of the rules.
    RATE = 10.0
    START = 0.5413248546

    def __init__(
        self,
        blur: float = 1 / 32,
        max_size: int | None = 64,
        focus: float = 2.0,
        rivals: int = 8,
        signed: bool = True,
        focus_floor: float = 0.5,
        region: float = 2.0,
        **kwargs: Any,
    ):
        super().__init__(blur, **kwargs)
        if isinstance(rivals, bool) or not isinstance(rivals, int) or not 0 <= rivals <= _MAX_RIVALS:
            raise ValueError(
                f"`rivals` must be an int from 0 to {_MAX_RIVALS}. Received: rivals={reprlib.repr(rivals)}"
            )
        if not isinstance(signed, bool):
            raise ValueError(f"`signed` must be a bool. Received: signed={reprlib.repr(signed)}")
        if max_size is not None and not (isinstance(max_size, int) and 2 <= max_size <= _MAX_SIDE):
            raise ValueError(
                f"`max_size` must be None or an int from 2 to {_MAX_SIDE}. "
                f"Received: max_size={reprlib.repr(max_size)}"
            )
        self.max_size = max_size
        self.focus = number("focus", focus, _MAX_FOCUS)
        self.focus_floor = number("focus_floor", focus_floor, 1.0)
        self.region = number("region", region, _MAX_REGION)
        self.rivals = rivals if self.focus else 0
        self.signed = signed and bool(self.focus)

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        sides = shape[1:-1]
        if len(shape) != len(input_shape) or not sides or 1 in sides:
            return False
        return self.max_size is None or all(side is None or side <= self.max_size for side in sides)

    def weight_shapes(self, count: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"raw_weights": (2, count)}
        return {**shapes, "raw_focus": ()} if self.focus else shapes

    def build(self, count: int) -> None:
        for name, shape in self.weight_shapes(count).items():
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros"))
        self.built = True

    def layer_weights(self) -> tf.Tensor:
        """The weights w_l and β_l, float32 `[2, count]`, with the layers in the order of execution."""
        raw = tf.convert_to_tensor(self.raw_weights)
        return tf.stack([self._positive(raw[0]), tf.sigmoid(self.RATE * raw[1])])

    def focus_strength(self) -> tf.Tensor:
        """κ, a float32 scalar; 0 without a focus."""
        if not self.focus:
            return tf.constant(0.0)
        above = self._positive(tf.convert_to_tensor(self.raw_focus))
        return self.focus * (self.focus_floor + (1.0 - self.focus_floor) * above)

    def _positive(self, raw):
        return tf.nn.softplus(self.RATE * raw + self.START)

    def terms(
        self, activations: list[tf.Tensor], signals: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The terms of the sum without the focus, each at the size of its layer, and h for the focus.

        Args:
            activations: list of float32 `[n, *source, c]`, the tensors that are read, in the order of
                execution.
            signals: list of float32, the signals that arrive at them, with the same shapes.

        Returns:
            list of float32 `[n, *source]` in that order, and h, float32 with the shape of the last term.
        """
        weights, betas = (tf.unstack(row) for row in tf.unstack(self.layer_weights()))
        terms = []
        for y, dy, weight, beta in zip(activations, signals, weights, betas, strict=True):
            term, total = (tf.ensure_shape(maps, y.shape[:-1]) for maps in _term(y, dy, weight, beta))
            terms.append(term)
        return terms, total  # of the last layer

    def focused(self, maps: tf.Tensor, relevance: tf.Tensor, evidence: tf.Tensor | None = None) -> tf.Tensor:
        """Multiplies maps by the focus f, which is resized to them.

        Args:
            maps: float32 `[n, *source]`.
            relevance: h, float32 `[n, *places]`, used where classes can't compete.
            evidence: R_k, float32 `[n, *places, 1 + rivals]`, the asked class first; or None.
        """
        if not self.focus:
            return maps
        size = resampling.sides(maps, maps.shape.rank - 1)
        if evidence is None:
            logit = self.focus_strength() * relevance * inverse_rms(relevance)
            return maps * tf.sigmoid(resampling.resize(logit, size))
        place, region = self._shares(evidence)
        return maps * resampling.resize(place * region, size)

    def _shares(self, evidence):
        """The two factors of f, each `[n, *places]`: the class's share of each place, and g."""
        # A softmax does not change if all classes gain the same, and neither should the scale.
        evidence -= tf.reduce_mean(evidence, -1, keepdims=True)
        place = self._share_of_asked(evidence)
        if not self.region:
            return place, tf.ones_like(place)
        places = resampling.sides(evidence, evidence.shape.rank - 2)
        around = resampling.resize_and_blur(evidence, places, [self.region] * len(places))
        return place, _LEAST_SHARE + (1.0 - _LEAST_SHARE) * self._share_of_asked(around)

    def _share_of_asked(self, evidence):
        """Softmax over the classes, of the one that is asked for, which comes first."""
        return tf.nn.softmax(self.focus_strength() * evidence * inverse_rms(evidence), -1)[..., 0]

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
        evidence: tf.Tensor | None = None,
    ) -> tf.Tensor:
        by_size = {}
        terms, relevance = self.terms(activations, signals)
        for index, maps in enumerate(terms):
            size = tuple(maps.shape[1:])
            by_size.setdefault(index if None in size else size, []).append(maps)
        sums = [tf.add_n(maps) for maps in by_size.values()]
        focused = (self.focused(maps, relevance, evidence) for maps in sums)
        found = tf.add_n([self.to_image(maps, image) for maps in focused])
        if not self.signed:
            return found
        mean = tf.nn.relu(tf.add_n([_of_sample(tf.reduce_mean, maps, found) for maps in sums]))
        if evidence is None:
            return found - mean / 2.0
        _, region = self._shares(evidence)
        return found - mean * _of_sample(tf.reduce_max, region, found) / evidence.shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_size": self.max_size,
            "focus": self.focus,
            "rivals": self.rivals,
            "signed": self.signed,
            "focus_floor": self.focus_floor,
            "region": self.region,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiLayerReadout":
        # Files from before them have none of these.
        missing = {"focus": 0.0, "rivals": 0, "signed": False, "focus_floor": 0.0, "region": 0.0}
        return cls(**{**missing, **config})


@tracing.for_any_shape
def _term(y, dy, weight, beta):
    """One layer's w·(P − β·N)/rms(P + N), and P − N, float32 `[n, ...]`; y and dy `[n, ..., c]`."""
    relevance = y * dy
    speaks_for = tf.reduce_sum(tf.nn.relu(relevance), -1)
    total = tf.reduce_sum(relevance, -1)
    against = speaks_for - total
    return (speaks_for - beta * against) * weight * inverse_rms(speaks_for + against), total


def _of_sample(reduce, maps, like):
    """A reduction of each sample's values, `[n, 1, ..., 1]` with the rank of `like`."""
    values = reduce(maps, list(range(1, maps.shape.rank)))
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))

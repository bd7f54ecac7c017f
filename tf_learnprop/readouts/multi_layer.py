"""The readout of many layers, in which classes compete."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_learnprop import argument_checks, relevance_sums, tracing
from tf_learnprop.placing import Places
from tf_learnprop.readouts.base import Needs, Readout, Shape, Signals, inverse_rms, register, share_of
from tf_learnprop.readouts.focus import Focus, NoFocus, OwnFocus, SharedFocus
from tf_learnprop.readouts.guide import Guide, guide_position
from tf_learnprop.rules.base import WeightSpecs, serializable

_MAX_RIVALS = 64
_MAX_FOCUS = 1000
_MAX_REGION = 1000
_MAX_SIDE = 2**24
#: Share of its initial value above which κ stays: training alone would let maps of classes become alike.
_FOCUS_FLOOR = 0.5


@register("multi_layer")
@serializable
class MultiLayerReadout(Readout):
    """Weighted sum of the relevances of many layers, resized: A = Σ_l f_l·w_l·(P_l − β_l·N_l)/rms(P_l + N_l).

    P_l is the relevance y·dy in favour of the class, N_l that against it, summed over the channels. w_l, β_l
    and the strength κ of the focus f are learned. The focus lowers relevance at places that other classes
    win, and the zero of A is what a place of average relevance has where no class wins. The page "What the
    readouts compute" of the documentation, `docs/readouts.md`, has the formulas.

    Args:
        blur: From 0 to 1; see `Readout`.
        max_size: At least 2. Largest side of an activation that is read; None reads all. Early layers are the
            largest and get the least weight; leaving them out also ends the backward pass sooner.
        focus: From 0 to 1000. Initial value of κ. With 0 there is no focus, and no weight for it.
        rivals: From 0 to 64. Number of classes that compete with the one that is asked for. If what
            follows the last feature map is not linear, each costs a backward pass through it, and at most 8
            compete.
        signed: Whether A has this zero. Without it, or without a focus, A is positive nearly
            everywhere. The order of the pixels is the same.
        region: From 0 to 1000. Standard deviation of the blur that makes regions of places, in places
            of the last feature map. With 0, classes compete for each place alone.
        contrast: "objects": classes whose evidence lies elsewhere compete, and other names of the same object
            don't. "names": all rivals compete alike, so the map shows what tells the class from its rivals,
            often a part of the object. None: no class competes, as with `focus=0`.
        guided: Whether the coarsest part of the map, and the focus, follow the outlines that a layer of finer
            places sees, or are interpolated linearly. For images.
    """

    #: w = softplus(RATE·u + START), β = sigmoid(RATE·u) and κ = focus·(φ + (1 − φ)·softplus(RATE·u + START)),
    #: φ being `_FOCUS_FLOOR`. Each u starts at 0, so w starts at 1, β at ½ and κ at `focus`. These few dozen
    #: values start far from their optimum. RATE makes them move ten times faster under Adam than the weights
    #: of the rules.
    RATE = 10.0
    START = 0.5413248546

    def __init__(
        self,
        blur: float | None = None,
        max_size: int | None = 64,
        focus: float = 2.0,
        rivals: int = 32,
        signed: bool = True,
        region: float = 2.0,
        contrast: str | None = "objects",
        guided: bool = True,
        **kwargs: Any,
    ):
        super().__init__(blur, **kwargs)
        if max_size is not None:
            rule = f"be None or an int in 2..{_MAX_SIDE}"
            argument_checks.integer("max_size", max_size, 2, _MAX_SIDE, rule=rule)
        argument_checks.number("focus", focus, low=0, high=_MAX_FOCUS)
        argument_checks.integer("rivals", rivals, 0, _MAX_RIVALS)
        argument_checks.flag("signed", signed)
        argument_checks.number("region", region, low=0, high=_MAX_REGION)
        argument_checks.flag("guided", guided)
        _check_contrast(contrast)
        self.max_size = None if max_size is None else int(max_size)
        self.contrast = contrast
        self.guided = guided
        self.focus = float(focus) if contrast else 0.0
        self.region = float(region)
        self.needs = Needs(rivals=int(rivals) if self.focus else 0)
        self.signed = signed and bool(self.focus)

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        sides = shape[1:-1]
        if len(shape) != len(input_shape) or not sides or 1 in sides:
            return False
        return self.max_size is None or all(side is None or side <= self.max_size for side in sides)

    def weight_specs(self, count: int) -> WeightSpecs:
        specs: WeightSpecs = {"raw_weights": ((2, count), "zeros")}
        return {**specs, "raw_focus": ((), "zeros")} if self.focus else specs

    def layer_weights(self) -> tf.Tensor:
        """The weights w_l and β_l, float32 `[2, count]`, with the layers in the order of execution."""
        raw = tf.convert_to_tensor(self.raw_weights)
        return tf.stack([self._positive(raw[0]), tf.sigmoid(self.RATE * raw[1])])

    def focus_strength(self) -> tf.Tensor:
        """κ, a float32 scalar; 0 without a focus."""
        if not self.focus:
            return tf.constant(0.0)
        above = self._positive(tf.convert_to_tensor(self.raw_focus))
        return self.focus * (_FOCUS_FLOOR + (1.0 - _FOCUS_FLOOR) * above)

    def _positive(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.nn.softplus(self.RATE * raw + self.START)

    def terms(
        self, activations: Sequence[tf.Tensor], signals: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The terms of the sum without the focus, each at the size of its layer, and h for the focus.

        Args:
            activations: float32 `[n, *source, c]`, the tensors that are read, in the order of
                execution.
            signals: float32, the signals that arrive at them, with the same shapes.

        Returns:
            float32 `[n, *source]` in that order, and h, float32 with the shape of the last term.
        """
        weights, betas = (tf.unstack(row) for row in tf.unstack(self.layer_weights()))
        terms = []
        for y, dy, weight, beta in zip(activations, signals, weights, betas, strict=True):
            speaks_for, total = relevance_sums.of(y, dy)
            terms.append(tracing.with_shape(_term(speaks_for, total, weight, beta), y.shape[:-1]))
        return terms, tracing.with_shape(total, y.shape[:-1])  # of the last layer

    def focus_of(
        self,
        relevance: tf.Tensor,
        evidence: tf.Tensor | None,
        places: Places | None = None,
        mask: tf.Tensor | None = None,
    ) -> Focus:
        """The focus of a batch.

        Args:
            relevance: h, float32 `[n, *places]`, used where classes can't compete.
            evidence: R_k, see `Signals`.
            places: Where the places of R_k, or else of h, lie.
            mask: `Signals.focus_mask`.
        """
        if not self.focus:
            return NoFocus()
        if evidence is None:
            return OwnFocus(self.focus_strength(), relevance, places, mask)
        return SharedFocus(
            self.focus_strength(), evidence, self.region, self.contrast == "objects", places, mask
        )

    def call(self, signals: Signals) -> tf.Tensor:
        maps, zero = self.maps_and_zero(signals)
        return maps - zero

    def maps_and_zero(self, signals: Signals) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum over the layers, float32 `[n, *spatial]`, and its zero, which broadcasts to it."""
        terms, relevance = self.terms(signals.activations, signals.signals)
        if signals.mask is not None:  # the root mean square of a term is over all places
            scale = tf.sqrt(share_of(signals.mask, relevance.shape.rank))
            terms = [term * scale for term in terms]
        focus = self.focus_of(relevance, signals.evidence, signals.focus_places, signals.focus_mask)
        sums = _sums_by_place(terms, signals.places_read)
        maps = tf.add_n(self.on_pixels(sums, focus, signals))
        if not self.signed:
            return maps, tf.zeros([1] * maps.shape.rank)
        mean = tf.nn.relu(tf.add_n([_mean_of_sample(total) for total, _ in sums]))
        zero = tf.reshape(focus.zero(mean), [-1] + [1] * (maps.shape.rank - 1))
        if signals.mask is None:
            return maps, zero
        # Nothing is relevant at masked places, so they have no zero, and the mean is over the others.
        return maps, tf.where(signals.mask, zero / share_of(signals.mask, maps.shape.rank), 0.0)

    def on_pixels(
        self, sums: Sequence[tuple[tf.Tensor, Places | None]], focus: Focus, signals: Signals
    ) -> list[tf.Tensor]:
        """Maps, each with where its places lie, multiplied by the focus, float32 `[n, *spatial]`."""
        position = guide_position(signals.activations, signals.places_read) if self.guided else None
        if position is not None:
            guide = Guide(signals.activations[position], signals.places_read[position])
            focus.follow(guide)
            sums = [guide.finer(*pair) for pair in sums]
        return [self.to_input(focus.on(total, places), signals.inputs, places) for total, places in sums]

    def with_contrast(self, contrast: str | None) -> "MultiLayerReadout":
        """A new readout, without weights, with the arguments of this one but for `contrast`.

        If no class competes in this one, `focus`, `rivals` and `signed` of the new one have their defaults.

        Raises:
            ValueError: If `contrast` has another value than the argument may have.
        """
        _check_contrast(contrast)  # Keras would make another error of it
        config = self.get_config()
        if not self.focus:  # no class competes in it, so it has no zero either
            del config["focus"], config["rivals"], config["signed"]
        return type(self).from_config({**config, "contrast": contrast})

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_size": self.max_size,
            "focus": self.focus,
            "rivals": self.needs.rivals,
            "signed": self.signed,
            "region": self.region,
            "contrast": self.contrast,
            "guided": self.guided,
        }


def _check_contrast(contrast: str | None) -> None:
    if contrast is not None:
        rule = "be 'objects', 'names' or None"
        argument_checks.one_of("contrast", contrast, ("objects", "names"), rule=rule)


def _sums_by_place(
    terms: Sequence[tf.Tensor], places: Sequence[Places | None]
) -> list[tuple[tf.Tensor, Places | None]]:
    """The sum of all terms of equal places, with these places, so that each is resized only once."""
    by_place: dict[Any, list[int]] = {}
    for index, (maps, where) in enumerate(zip(terms, places, strict=True)):
        size = tuple(maps.shape[1:])
        by_place.setdefault(index if where is None and None in size else (size, where), []).append(index)
    return [(tf.add_n([terms[k] for k in group]), places[group[0]]) for group in by_place.values()]


@tracing.for_any_shape
def _term(speaks_for: tf.Tensor, total: tf.Tensor, weight: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    """One layer's w·(P − β·N)/rms(P + N), float32 `[n, ...]`, from P and P − N."""
    against = speaks_for - total
    return (speaks_for - beta * against) * weight * inverse_rms(speaks_for + against)


def _mean_of_sample(maps: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(maps, list(range(1, maps.shape.rank)))

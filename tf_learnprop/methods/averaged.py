"""Methods that average gradients: Integrated Gradients, SmoothGrad and its relatives."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks, readouts
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods import baselines
from tf_learnprop.methods.base import Need, register
from tf_learnprop.methods.looped import LoopedMethod
from tf_learnprop.methods.passes import Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragedGradients(LoopedMethod):
    """A signal at the input from many gradients, and a readout of the input. Write `signals`.

    Args:
        readout: Readout of the input alone, or its name, that makes the map from the signal. None: the
            method's own, without blur.
    """

    readout: str | readouts.Readout | None = None
    needs: ClassVar[tuple[Need, ...]] = (Need.GRADIENT,)
    #: The method's own readout.
    own_readout: ClassVar[type[readouts.Readout]] = readouts.SaliencyReadout

    def __post_init__(self) -> None:
        needs = self._readout().needs
        if needs.feature_map or not needs.input_signal:
            raise argument_checks.ArgumentError(
                "readout", "be one of the input alone, such as 'saliency' or 'input'", self.readout
            )

    def _readout(self) -> readouts.Readout:
        return self.own_readout(blur=0.0) if self.readout is None else readouts.get(self.readout)

    @abc.abstractmethod
    def signals(self, samples: Samples) -> readouts.Signals:
        """The input, as the readout is given it, and the signal at it."""

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        readout = self._readout()
        return lambda samples: readout(self.signals(samples))


@register("integrated_gradients")
@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegratedGradients(AveragedGradients):
    """Σ_c (x − x')·∫ ∂s/∂x dα along the straight line from a baseline x' to the input x.

    The sum of the map is s(x) − s(x'), but for the error of the quadrature.

    Args:
        steps: Number of gradients.
        baseline: x': a number, an array that broadcasts to one sample, or "blur" for the blurred input.
        quadrature: Where the gradients are taken, and how they count: "gauss_legendre", or "trapezoid" with
            even steps and both ends.
    """

    steps: int = 50
    baseline: baselines.Baseline = 0.0
    quadrature: str = "gauss_legendre"
    label = "Integrated Gradients"
    cost = "1 + 2·steps"
    source = "Sundararajan et al. 2017, ICML, arXiv 1703.01365"
    signed = True
    own_readout = readouts.InputReadout

    def __post_init__(self) -> None:
        super().__post_init__()
        argument_checks.one_of("quadrature", self.quadrature, _QUADRATURES)
        argument_checks.integer("steps", self.steps, 2 if self.quadrature == "trapezoid" else 1)

    def passes(self, explained: Explained) -> int:
        return 1 + 2 * self.steps

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        baselines.check(self.baseline, explained)
        return super().maps_of(explained)

    def signals(self, samples: Samples) -> readouts.Signals:
        places, shares = _QUADRATURES[self.quadrature](self.steps)
        difference = samples.image - baselines.of(self.baseline, samples.image)
        signal = tf.zeros_like(difference)
        for part in samples.parts(self.steps):
            # From the input back, which is the same as from the baseline on.
            behind = _over_samples(1.0 - places[part], difference) * difference
            signal += tf.tensordot(
                tf.constant(shares[part], tf.float32), samples.gradients(samples.image - behind), 1
            )
        return readouts.Signals(difference, signal)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyGradients(AveragedGradients):
    """Gradients at noisy copies of the input. Write `average`.

    Args:
        samples: Number of copies.
        noise: Standard deviation of the noise, as a fraction of the range of each sample's values.
        seed: Seed of the noise. All samples get the same noise, so that a map does not depend on the others
            in its batch.
    """

    samples: int = 50
    noise: float = 0.15
    seed: int = 0
    cost = "1 + 2·samples"

    def __post_init__(self) -> None:
        super().__post_init__()
        argument_checks.integer("samples", self.samples, 1)
        argument_checks.number("noise", self.noise, low=0.0)
        argument_checks.integer("seed", self.seed, 0)

    def passes(self, explained: Explained) -> int:
        return 1 + 2 * self.samples

    def signals(self, samples: Samples) -> readouts.Signals:
        image = samples.image
        axes = list(range(1, image.shape.rank))
        spread = tf.reduce_max(image, axes, keepdims=True) - tf.reduce_min(image, axes, keepdims=True)
        first, total, squares = None, tf.zeros_like(image), tf.zeros_like(image)
        for part in samples.parts(self.samples):
            noise = tf.stack([_noise(image, self.seed, k) for k in range(self.samples)[part]])
            gradients = samples.gradients(image + self.noise * spread * noise[:, None])
            # Taken away, lest the variance be a small difference of large numbers.
            first = gradients[0] if first is None else first
            gradients -= first
            total += tf.reduce_sum(gradients, 0)
            squares += tf.reduce_sum(tf.square(gradients), 0)
        mean = total / self.samples
        variance = tf.nn.relu(squares / self.samples - tf.square(mean))
        return readouts.Signals(image, self.average(first + mean, variance))

    @abc.abstractmethod
    def average(self, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """The signal from mean and variance of the gradients."""


@register("smoothgrad")
class SmoothGrad(NoisyGradients):
    """max_c |mean of ∂s/∂x|, over copies of the input with noise."""

    label = "SmoothGrad"
    source = "Smilkov et al. 2017, arXiv 1706.03825"

    def average(self, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        return mean


@register("smoothgrad_squared")
class SmoothGradSquared(NoisyGradients):
    """max_c of the mean of (∂s/∂x)², over copies of the input with noise."""

    label = "SmoothGrad²"
    source = "Hooker et al. 2019, NeurIPS, arXiv 1806.10758"

    def average(self, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        return variance + tf.square(mean)


@register("vargrad")
class VarGrad(NoisyGradients):
    """max_c of the variance of ∂s/∂x, over copies of the input with noise."""

    label = "VarGrad"
    source = "Adebayo et al. 2018, arXiv 1810.03307"

    def average(self, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        return variance


def _noise(image: tf.Tensor, seed: int, number: int) -> tf.Tensor:
    """Standard normal noise for each value of a sample."""
    return tf.random.stateless_normal(image.shape[1:], [seed, number])


def _over_samples(values: np.ndarray, images: tf.Tensor) -> tf.Tensor:
    """Values `[k]` as `[k, 1, ..., 1]`, to multiply images `[n, ...]`."""
    return tf.constant(values.reshape([-1] + [1] * images.shape.rank), tf.float32)


def _gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    places, weights = np.polynomial.legendre.leggauss(steps)
    return (places + 1.0) / 2.0, weights / 2.0


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    shares = np.full(steps, 1.0 / (steps - 1))
    shares[[0, -1]] /= 2.0
    return np.linspace(0.0, 1.0, steps), shares


#: Functions from a number of steps to their places in 0..1 and their shares, which sum to 1.
_QUADRATURES: dict[str, Any] = {"gauss_legendre": _gauss_legendre, "trapezoid": _trapezoid}

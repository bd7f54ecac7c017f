"""Objectives: how a map is turned into masks, and what the model says of the masked input."""

import math

import keras
import tensorflow as tf

from tf_learnprop.backward.output_head import OutputHead
from tf_learnprop.training import baselines

_PACKAGE = "tf_learnprop"


def soft_mask(maps, area, width=0.15):
    """Differentiable masks that keep about a fraction `area` of the pixels.

    m = sigmoid((F − q)/T), F the map over its standard deviation and q its `area`-quantile from the
    top. T is half the way from q to the quantile at area − width for what lies above q, and at
    area + width for what lies below: maps are heavy-tailed, and one T for both sides would follow the
    largest values and keep far more than a small area. The gradient flows through q and T: with q held
    fixed, raising all of F would look like a larger mask.

    Args:
        maps: float32 `[n, ...]`.
        area: float32 `[n]`, in (0, 1).
        width: float, how soft the edge is, as a fraction of the area.

    Returns:
        float32, the shape of `maps`, in (0, 1).
    """
    shape = tf.shape(maps)
    flat = tf.reshape(maps, [shape[0], -1])
    # Not `reduce_std`, whose gradient for a constant map is not finite.
    flat = flat * tf.math.rsqrt(tf.math.reduce_variance(flat, 1, keepdims=True) + 1e-16)
    # Not `tf.sort`: its gradient can't be computed for many samples side by side, as refinement does.
    order = tf.argsort(tf.stop_gradient(flat), 1, "DESCENDING")
    last = tf.cast(tf.shape(flat)[1] - 1, tf.float32)

    def quantile(fraction):
        index = tf.cast(tf.round(tf.clip_by_value(fraction, 0.0, 1.0) * last), tf.int32)
        return tf.gather(flat, tf.gather(order, index[:, None], batch_dims=1), batch_dims=1)

    edge = quantile(area)
    reach = tf.where(flat > edge, quantile(area - width) - edge, edge - quantile(area + width))
    return tf.reshape(tf.sigmoid((flat - edge) / (reach / 2.0 + 1e-6)), shape)


def cross_entropy(target, log_probability):
    """−Σ p·log q over the classes, float32 `[n]`."""
    return -tf.reduce_sum(target * log_probability, -1)


class Objective(keras.layers.Layer):
    """A training objective; subclass it and write `call`. It has no weights, only random state.

    Attributes:
        reported: tuple of str, what `call` returns beside "loss"; each becomes a metric of `fit`.

    Args:
        seed: int, seed of all that is random in it.
    """

    reported = ()

    def __init__(self, seed=0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def augment(self, image):
        """The images that a step of the training explains, made of those it was given; by default the same.

        Args:
            image: float32 `[n, *spatial, c]` or `[n, features]`.

        Returns:
            float32, the same shape.
        """
        return image

    def select_target(self, logits):
        """Which classes a step of the training explains: logits of which the largest is the class.

        Args:
            logits: float32 `[n, units]`, the model's.

        Returns:
            float32, the same shape; by default the same, so that the predicted class is explained.
        """
        return logits

    def call(self, image, maps, original, classify, training=False):
        """The loss of one batch.

        Args:
            image: float32 `[n, *spatial, c]` or `[n, features]`, the explained input.
            maps: float32 `[n, *spatial]` or `[n, features]`.
            original: float32 `[n, classes]`, log-probabilities of the classes for `image`, by the logits
                that `select_target` gave.
            classify: callable, the same for other inputs of that shape, `[k·n, ...]` for an int k; its
                backward pass is the model's own.
            training: bool, True draws at random; False makes the same choices every time.

        Returns:
            dict of float32 `[n]`, of which "loss" is minimised and the rest are reported.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call`.")

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    # The state of the random numbers is saved, for a training that was cut off to go on as it would have.

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seed_state"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store):
        arrays = {name: store[name] for name in store.keys()}
        if "seed_state" in arrays:
            self.seed_generator.state.assign(arrays.pop("seed_state"))
        super().load_own_variables(arrays)


def cutmix_images(image, share, seed=None):
    """Cuts samples in two and takes what lies behind the cut from the sample before, in the same place.

    Where parts of two samples meet, a map can only keep the answer by telling one class' evidence from the
    other's. The cut crosses an axis drawn at random, between a third and two thirds of its length. Compare
    Yun et al., "CutMix", ICCV 2019.

    Args:
        image: float32 `[n, *spatial, c]`; `[n, features]` are left as they are.
        share: float in [0, 1], the part of the samples that are cut, drawn at random.
        seed: `keras.random.SeedGenerator` or None.

    Returns:
        float32, the same shape.
    """
    axes = image.shape.rank - 2
    if not axes or not share:
        return image
    count = tf.shape(image)[0]
    draws = keras.random.uniform([3, count], seed=seed)
    axis = tf.cast(draws[0] * axes, tf.int32)
    cut = (1.0 + draws[1]) / 3.0
    behind = tf.zeros_like(image[..., :1], tf.bool)
    for number in range(axes):
        length = tf.shape(image)[number + 1]
        place = tf.range(length, dtype=tf.float32) / tf.cast(length, tf.float32)
        chosen = (axis == number)[:, None] & (draws[2] < share)[:, None] & (place >= cut[:, None])
        shape = [count] + [length if k == number else 1 for k in range(axes)] + [1]
        behind |= tf.reshape(chosen, shape)
    return tf.where(behind, tf.roll(image, 1, 0), image)


def masked(image, mask, fill):
    """mask·image + (1 − mask)·fill; the mask has no channel axis unless the image has none."""
    mask = mask[..., None] if mask.shape.rank < image.shape.rank else mask
    return mask * image + (1.0 - mask) * fill


@keras.saving.register_keras_serializable(_PACKAGE)
class AreaGuidance(Objective):
    """What the map ranks highest should keep the output, and what it ranks lowest should not.

    For each sample `soft_mask` keeps an area a, and a fill b takes the rest:
    preserve = cross-entropy(p(x), p(m·x + (1 − m)·b)), destroy = −log(1 − p_c(m·b + (1 − m)·x) + 1e-3),
    c the predicted class; loss = preserve + destroy. The areas of a batch are spread evenly over their range
    and its samples take the fills in turn, both from a random start.

    Two things make the maps tell classes apart. Some training samples are cut and joined with another one
    (`cutmix_images`). For some the model's second choice c is explained instead of its first: p(x) is then
    that of the logits with these two exchanged.

    Args:
        min_area, max_area: floats in (0, 1), range of a.
        width: float, see `soft_mask`.
        fills: tuple of names from `tf_learnprop.fills`.
        cutmix: float in [0, 1], the share of the samples that are cut and joined with another.
        runner_up: float in [0, 1], the share of the samples that are asked for the second choice.
        seed: int.
    """

    reported = ("preserve", "destroy", "mask_area")

    def __init__(
        self,
        min_area=0.05,
        max_area=0.7,
        width=0.15,
        fills=("blur", "mean", "noise", "shift"),
        cutmix=0.5,
        runner_up=0.5,
        seed=0,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        if not 0 < min_area <= max_area < 1:
            raise ValueError(
                "Areas must satisfy 0 < min_area <= max_area < 1. "
                f"Received: min_area={min_area}, max_area={max_area}"
            )
        if not 0 < width < 1:
            raise ValueError(f"`width` must be in (0, 1). Received: width={width}")
        unknown = [name for name in fills if name not in baselines.BY_NAME]
        if unknown or not fills:
            raise ValueError(
                f"`fills` must be one or more of {', '.join(map(repr, baselines.BY_NAME))}. "
                f"Received: fills={fills!r}"
            )
        for name, share in (("cutmix", cutmix), ("runner_up", runner_up)):
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be in [0, 1]. Received: {name}={share}")
        self.min_area, self.max_area = min_area, max_area
        self.width = width
        self.fills = tuple(fills)
        self.cutmix = cutmix
        self.runner_up = runner_up

    def augment(self, image):
        return cutmix_images(image, self.cutmix, self.seed_generator)

    def select_target(self, logits):
        draws = keras.random.uniform([tf.shape(logits)[0], 1], seed=self.seed_generator)
        second = OutputHead(logits.shape[-1]).promote_runner_up(logits)
        return tf.where(draws < self.runner_up, second, logits)

    def call(self, image, maps, original, classify, training=False):
        count = tf.shape(maps)[0]
        mask = soft_mask(maps, self._areas(count, training), self.width)
        fill = self._fill(image, training)
        both = tf.concat([masked(image, mask, fill), masked(fill, mask, image)], 0)
        kept, removed = tf.split(classify(both), 2)
        predicted = tf.one_hot(tf.argmax(original, -1), tf.shape(original)[-1])
        preserve = cross_entropy(tf.exp(original), kept)
        left = tf.reduce_sum(predicted * tf.exp(removed), -1)
        destroy = -tf.math.log(1.0 - left + 1e-3)
        return {
            "loss": preserve + destroy,
            "preserve": preserve,
            "destroy": destroy,
            "mask_area": tf.reduce_mean(tf.reshape(mask, [count, -1]), 1),
        }

    def _areas(self, count, training):
        # Steps of the golden ratio spread any number of samples evenly over the range, wherever they start;
        # areas drawn one by one would leave much more noise in the loss of a small batch.
        start = keras.random.uniform((), seed=self.seed_generator) if training else 0.5
        unit = tf.math.floormod(start + tf.cast(tf.range(count), tf.float32) / 1.6180339887, 1.0)
        return self.min_area + (self.max_area - self.min_area) * unit

    def _fill(self, image, training):
        functions = [baselines.BY_NAME[name] for name in self.fills]
        first, seed = 0, None
        if training:
            seed = tf.cast(tf.convert_to_tensor(self.seed_generator.next()), tf.int32)
            first = tf.random.stateless_uniform((), seed, 0, len(functions), tf.int32)
        turn = (first + tf.range(tf.shape(image)[0])) % len(functions)
        turn = tf.reshape(turn, [-1] + [1] * (image.shape.rank - 1))
        fills = [fill(image, seed=seed) for fill in functions]
        return tf.add_n([tf.where(turn == k, fill, 0.0) for k, fill in enumerate(fills)])

    def get_config(self):
        names = ("min_area", "max_area", "width", "fills", "cutmix", "runner_up")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if "collages" in config:  # the name of `cutmix` in files of version 0.1
            config["cutmix"] = config.pop("collages")
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class MaskedOutputGuidance(Objective):
    """The plain reading of Yang et al. 2020: the masked input should give the original output.

    m = (A − min A)/(max A − min A); loss = cross-entropy(p(x), p(m·x + (1 − m)·b)) + λ·mean(m), b one fill.
    The paper's own loss terms could not be had: this is ours.

    Args:
        area_weight: float, λ.
        fill: str, a name from `tf_learnprop.fills`.
        seed: int.
    """

    reported = ("preserve", "mask_area")

    def __init__(self, area_weight=1.0, fill="blur", seed=0, **kwargs):
        super().__init__(seed, **kwargs)
        if not (area_weight >= 0 and math.isfinite(area_weight)):
            raise ValueError(f"`area_weight` must be finite and >= 0. Received: {area_weight!r}")
        if fill not in baselines.BY_NAME:
            raise ValueError(
                f"`fill` must be one of {', '.join(map(repr, baselines.BY_NAME))}. Received: fill={fill!r}"
            )
        self.area_weight = area_weight
        self.fill = fill

    def call(self, image, maps, original, classify, training=False):
        axes = list(range(1, maps.shape.rank))
        low = tf.reduce_min(maps, axes, keepdims=True)
        high = tf.reduce_max(maps, axes, keepdims=True)
        mask = (maps - low) / (high - low + 1e-8)
        fill = baselines.BY_NAME[self.fill](image)
        preserve = cross_entropy(tf.exp(original), classify(masked(image, mask, fill)))
        area = tf.reduce_mean(mask, axes)
        return {
            "loss": preserve + self.area_weight * area,
            "preserve": preserve,
            "mask_area": area,
        }

    def get_config(self):
        return {**super().get_config(), "area_weight": self.area_weight, "fill": self.fill}

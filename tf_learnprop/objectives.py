"""Objectives: they turn a map into masks and compare the model's answers to the masked inputs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_learnprop import areas, argument_checks, replicas
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.fills import BY_NAME as FILLS
from tf_learnprop.graph.output_head import promote_runner_up

_PACKAGE = "tf_learnprop"

#: A tensor `[n, ...]`; of several explained inputs a list, one for each.
Tensors: TypeAlias = tf.Tensor | list[tf.Tensor]
#: From inputs `[k·n, ...]` to their log-probabilities `[k·n, classes]`.
Classify = Callable[[Any], tf.Tensor]


def soft_mask(maps: Any, area: tf.Tensor, width: float = 0.15) -> Any:
    """Differentiable masks that keep about a fraction `area` of the pixels.

    m = sigmoid((F − q)/T), where F is the map divided by its standard deviation and q the quantile that a
    fraction `area` of the pixels exceeds. T is half the distance from q to the quantile at area − width for
    pixels above q, and at area + width for pixels below. Maps are heavy-tailed: a single T would follow the
    largest values and keep far more than a small area. The gradient flows through q and T, because with a
    fixed q, raising all of F would look like enlarging the mask.

    The maps of several inputs are cut at one q. Each input has the same share of the area, whatever its
    number of places P, so a place counts 1/P, and F is the attribution for that area, P times the map. Of a
    photo of 50,000 pixels and a table of 8 columns, one column is as much as 6,250 pixels, and comes before
    them if its attribution is more than theirs together.

    Args:
        maps: float32 `[n, ...]`; or a list of these, the maps of several inputs on one scale.
        area: float32 `[n]`, in (0, 1). Fraction of the pixels to keep.
        width: Softness of the edge, as a fraction of the pixels, in (0, 1).

    Returns:
        float32 in (0, 1), in the shape of `maps`, or a list.
    """
    flat, sizes = areas.values_and_areas(maps)
    # Not `reduce_std`, whose gradient for a constant map is not finite.
    flat = flat * tf.math.rsqrt(tf.math.reduce_variance(flat, 1, keepdims=True) + 1e-16)
    # Not `tf.sort`, whose gradient does not work in `tf.vectorized_map`, which refinement uses.
    order = tf.argsort(tf.stop_gradient(flat), 1, "DESCENDING")
    last = tf.cast(tf.shape(flat)[1] - 1, tf.float32)
    middles = None if sizes is None else areas.middles(tf.gather(sizes, order))

    def quantile(fraction: tf.Tensor) -> tf.Tensor:
        if middles is None:
            index = tf.cast(tf.round(tf.clip_by_value(fraction, 0.0, 1.0) * last), tf.int32)
        else:  # the place whose middle is nearest
            is_past = (middles[:, 1:] + middles[:, :-1]) / 2.0 < fraction[:, None]
            index = tf.reduce_sum(tf.cast(is_past, tf.int32), 1)
        return tf.gather(flat, tf.gather(order, index[:, None], batch_dims=1), batch_dims=1)

    edge = quantile(area)
    reach = tf.where(flat > edge, quantile(area - width) - edge, edge - quantile(area + width))
    return areas.as_maps(tf.sigmoid((flat - edge) / (reach / 2.0 + 1e-6)), maps)


def cross_entropy(target: tf.Tensor, log_probability: tf.Tensor) -> tf.Tensor:
    """−Σ p·log q over the classes.

    Args:
        target: float32 `[n, classes]`, p.
        log_probability: float32 `[n, classes]`, log q.

    Returns:
        float32 `[n]`.
    """
    return -tf.reduce_sum(target * log_probability, -1)


class Objective(keras.layers.Layer):
    """Base class of training objectives. Subclasses implement `call`; they have random state, no weights.

    Attributes:
        reported: Entries that `call` returns besides "loss". Each becomes a metric of `fit`.

    Args:
        seed: Seed of all random draws.
    """

    reported: tuple[str, ...] = ()

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def augment(self, image: tf.Tensor) -> tf.Tensor:
        """Makes the images of a training step from those of the data. By default they are the same.

        Args:
            image: float32 `[n, *spatial, c]` or `[n, features]`.

        Returns:
            float32, same shape.
        """
        return image

    def select_target(self, logits: tf.Tensor) -> tf.Tensor:
        """Chooses the class that a training step explains. By default it is the predicted one.

        Args:
            logits: float32 `[n, classes]`, logits of the classes; of a single unit two, for no and yes.

        Returns:
            float32, same shape: logits whose argmax is the class to explain.
        """
        return logits

    def call(
        self,
        image: Tensors,
        maps: Tensors,
        original: tf.Tensor,
        classify: Classify,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Computes the losses of a batch.

        Args:
            image: float32 `[n, *spatial, c]` or `[n, features]`, the explained input; of several, a list.
            maps: float32 `[n, *spatial]` or `[n, features]`; of several inputs, a list, on one scale.
            original: float32 `[n, classes]`, log-probabilities for `image`, computed from the logits that
                `select_target` returned.
            classify: Returns the log-probabilities `[k·n, classes]` of other inputs
                `[k·n, ...]`, or a list of them, for any int k. Its gradients are those of the model itself.
            training: False makes the same choices at every call instead of random ones.

        Returns:
            dict of float32 `[n]`: the "loss" to minimise, and what `reported` names.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call`.")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}

    # Files hold the random state, so that an interrupted training resumes with the draws it would have made.

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["seed_state"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        arrays = {name: store[name] for name in store.keys()}
        if "seed_state" in arrays:
            self.seed_generator.state.assign(arrays.pop("seed_state"))
        super().load_own_variables(arrays)


def cutmix_images(
    image: tf.Tensor, share: float, seed: keras.random.SeedGenerator | None = None
) -> tf.Tensor:
    """Cuts some samples in two and replaces the second part with that of the previous sample.

    Where parts of two samples meet, a map can only keep the answer if it tells the evidence for one class
    from that for another. The cut is across a random axis, between one third and two thirds of its length.
    Compare Yun et al., "CutMix", ICCV 2019.

    Args:
        image: float32 `[n, *spatial, c]`. Inputs `[n, features]` are returned unchanged.
        share: Probability that a sample is cut, in [0, 1].
        seed: Seed of the draws.

    Returns:
        float32, same shape.
    """
    axes = image.shape.rank - 2
    if not axes or not share:
        return image
    count = tf.shape(image)[0]
    draws = replicas.uniform(3, count, seed)
    axis = tf.cast(draws[0] * axes, tf.int32)
    cut = (1.0 + draws[1]) / 3.0
    behind = tf.zeros_like(image[..., :1], tf.bool)
    for number in range(axes):
        length = tf.shape(image)[number + 1]
        place = tf.range(length, dtype=tf.float32) / tf.cast(length, tf.float32)
        second_part = (axis == number)[:, None] & (draws[2] < share)[:, None] & (place >= cut[:, None])
        shape = [count] + [length if k == number else 1 for k in range(axes)] + [1]
        behind |= tf.reshape(second_part, shape)
    return tf.where(behind, tf.roll(image, 1, 0), image)


def masked(image: Any, mask: Any, fill: Any) -> Any:
    """mask·image + (1 − mask)·fill, for a mask `[n, *spatial]` or `[n, features]`, or for lists of these."""
    return keras.tree.map_structure(_masked, image, mask, fill)


def _masked(image: tf.Tensor, mask: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    mask = mask[..., None] if mask.shape.rank < image.shape.rank else mask
    return mask * image + (1.0 - mask) * fill


def _area(mask: Tensors) -> tf.Tensor:
    """The mean of masks, in which each of several inputs counts alike, float32 `[n]`."""
    means = [tf.reduce_mean(tf.reshape(one, [tf.shape(one)[0], -1]), 1) for one in keras.tree.flatten(mask)]
    return tf.add_n(means) / len(means)


@keras.saving.register_keras_serializable(_PACKAGE)
class AreaGuidance(Objective):
    """Keeping what the map ranks highest should preserve the output; removing it should destroy it.

    For each sample, `soft_mask` keeps an area a and a fill b replaces the rest:
    preserve = cross-entropy(p(x), p(m·x + (1 − m)·b)), destroy = −log(1 − p_c(m·b + (1 − m)·x) + 1e-3),
    where c is the predicted class; loss = preserve + destroy. The areas of a batch are spread evenly over
    their range, and its samples take the fills in turn; both start at random.

    Two things teach the maps to tell classes apart. Some training samples are joined with part of another
    one (`cutmix_images`). For others, the class that is explained is the model's second choice: p(x) is then
    computed from logits in which the two best classes are swapped. The less the model believes in the second
    class, the less often that happens: where the image holds nothing of it, the best mask would be one that
    hides what speaks for the first, and maps would learn to leave the evidence.

    Of a model of several explained inputs, one mask acts on all of them, see `soft_mask`, and each has a fill
    of its own of the same kind: "blur" and "blocks" are the mean for tables, and "shift" takes all inputs
    from another sample.

    Args:
        min_area: Smallest area, in (0, 1).
        max_area: Largest area, in (0, 1) and >= `min_area`.
        width: Softness of the mask's edge, in (0, 1); see `soft_mask`.
        fills: Names of fills: "blur", "mean", "noise", "shift", "blocks".
        cutmix: Probability that a sample is joined with part of another, in [0, 1].
        runner_up: In [0, 1]. Probability that the second choice of a sample is explained if it is as
            likely as the first, with probabilities p₁ = p₂; else it is 2·runner_up·p₂/(p₁ + p₂).
        seed: Seed of all random draws.
        masks: At least 1. Masks of each map, with areas and fills of their own. Each costs two more runs of
            the model and their gradient, but not the second derivative that a map costs.

    Raises:
        ValueError: If an argument is out of range, or a fill is unknown.
    """

    reported = ("preserve", "destroy", "mask_area")

    def __init__(
        self,
        min_area: float = 0.05,
        max_area: float = 0.7,
        width: float = 0.15,
        fills: Sequence[str] = ("blur", "mean", "noise", "shift", "blocks"),
        cutmix: float = 0.5,
        runner_up: float = 0.5,
        seed: int = 0,
        masks: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        if not 0 < min_area <= max_area < 1:
            raise ValueError(
                "Areas must satisfy 0 < min_area <= max_area < 1. "
                f"Received: min_area={min_area}, max_area={max_area}"
            )
        argument_checks.number("width", width, above=0, below=1)
        unknown = [name for name in fills if name not in FILLS]
        if unknown or not fills:
            raise ArgumentError("fills", f"be one or more of {sorted(FILLS)}", fills)
        argument_checks.integer("masks", masks, 1)
        argument_checks.number("cutmix", cutmix, low=0, high=1)
        argument_checks.number("runner_up", runner_up, low=0, high=1)
        self.min_area, self.max_area = min_area, max_area
        self.width = width
        self.fills = tuple(fills)
        self.masks = masks
        self.cutmix = cutmix
        self.runner_up = runner_up

    def augment(self, image: tf.Tensor) -> tf.Tensor:
        return cutmix_images(image, self.cutmix, self.seed_generator)

    def select_target(self, logits: tf.Tensor) -> tf.Tensor:
        draws = replicas.uniform(1, tf.shape(logits)[0], self.seed_generator)[0, :, None]
        best = tf.math.top_k(tf.nn.softmax(logits), 2).values
        share = best[:, 1:] / tf.reduce_sum(best, -1, keepdims=True)
        return tf.where(draws < 2.0 * self.runner_up * share, promote_runner_up(logits), logits)

    def call(
        self,
        image: Tensors,
        maps: Tensors,
        original: tf.Tensor,
        classify: Classify,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        # One batch behind the other, each with other masks.
        image, maps, original = keras.tree.map_structure(self._repeated, (image, maps, original))
        count = tf.shape(original)[0]
        mask = soft_mask(maps, self._areas(count, training), self.width)
        fill = self._fill(image, count, training)
        both = keras.tree.map_structure(
            lambda *parts: tf.concat(parts, 0), masked(image, mask, fill), masked(fill, mask, image)
        )
        # The model's answers to what the mask keeps, and to the rest.
        inside, outside = tf.split(classify(both), 2)
        predicted = tf.one_hot(tf.argmax(original, -1), tf.shape(original)[-1])
        preserve = cross_entropy(tf.exp(original), inside)
        probability = tf.reduce_sum(predicted * tf.exp(outside), -1)
        destroy = -tf.math.log(1.0 - probability + 1e-3)
        losses = {
            "loss": preserve + destroy,
            "preserve": preserve,
            "destroy": destroy,
            "mask_area": _area(mask),
        }
        return {name: tf.reduce_mean(tf.reshape(v, [self.masks, -1]), 0) for name, v in losses.items()}

    def _repeated(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.tile(tensor, [self.masks] + [1] * (tensor.shape.rank - 1)) if self.masks > 1 else tensor

    def _areas(self, count: tf.Tensor, training: bool) -> tf.Tensor:
        # Multiples of the golden ratio spread any number of samples evenly over the range, from any start.
        # Independent draws would add much more noise to the loss of a small batch.
        start = keras.random.uniform((), dtype="float32", seed=self.seed_generator) if training else 0.5
        number = replicas.position(count)[0] + tf.range(count)
        unit = tf.math.floormod(start + tf.cast(number, tf.float32) / 1.6180339887, 1.0)
        return self.min_area + (self.max_area - self.min_area) * unit

    def _fill(self, image: Tensors, count: tf.Tensor, training: bool) -> Tensors:
        functions = [FILLS[name] for name in self.fills]
        first, seed = 0, None
        if training:
            seed = tf.cast(tf.convert_to_tensor(self.seed_generator.next()), tf.int32)
            first = tf.random.stateless_uniform((), seed, 0, len(functions), tf.int32)
        turn = first + replicas.position(count)[0] + tf.range(count)
        # The masks of a sample take the fills in turn too.
        turn = (turn + tf.range(count) // (count // self.masks)) % len(functions)

        def filled(tensor: tf.Tensor, number: int) -> tf.Tensor:
            own = None if seed is None else seed + number  # no two inputs get the same noise
            of_sample = tf.reshape(turn, [-1] + [1] * (tensor.shape.rank - 1))
            fills = [fill(tensor, seed=own) for fill in functions]
            return tf.add_n([tf.where(of_sample == k, fill, 0.0) for k, fill in enumerate(fills)])

        numbers = list(range(len(image))) if isinstance(image, list) else 0
        return keras.tree.map_structure(filled, image, numbers)

    def get_config(self) -> dict[str, Any]:
        names = ("min_area", "max_area", "width", "fills", "masks", "cutmix", "runner_up")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(_PACKAGE)
class MaskedOutputGuidance(Objective):
    """The masked input should give the original output, with as small a mask as possible.

    A plain reading of Yang et al. 2020: m = (A − min A)/(max A − min A) for a map A;
    loss = cross-entropy(p(x), p(m·x + (1 − m)·b)) + λ·mean(m), where b is a fill. The paper's own loss terms
    were not available, so the details are ours.

    Args:
        area_weight: Weight λ of the mask's area, >= 0.
        fill: Name of the fill: "blur", "mean", "noise", "shift" or "blocks".
        seed: Seed of all random draws.

    Raises:
        ValueError: If an argument is out of range, or the fill is unknown.
    """

    reported = ("preserve", "mask_area")

    def __init__(self, area_weight: float = 1.0, fill: str = "blur", seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        argument_checks.number("area_weight", area_weight, low=0)
        argument_checks.one_of("fill", fill, FILLS)
        self.area_weight = area_weight
        self.fill = fill

    def call(
        self,
        image: Tensors,
        maps: Tensors,
        original: tf.Tensor,
        classify: Classify,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        values, _ = areas.values_and_areas(maps)
        low = tf.reduce_min(values, 1, keepdims=True)
        high = tf.reduce_max(values, 1, keepdims=True)
        mask = areas.as_maps((values - low) / (high - low + 1e-8), maps)
        fill = keras.tree.map_structure(FILLS[self.fill], image)
        preserve = cross_entropy(tf.exp(original), classify(masked(image, mask, fill)))
        area = _area(mask)
        return {
            "loss": preserve + self.area_weight * area,
            "preserve": preserve,
            "mask_area": area,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "area_weight": self.area_weight, "fill": self.fill}

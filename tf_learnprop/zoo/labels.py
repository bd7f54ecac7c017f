"""Names of the 1000 ImageNet classes, in the order of the zoo models' outputs.

The names are those of torchvision 0.29 (`torchvision/models/_meta.py`, BSD-3-Clause): short, and
each used for one class only ("crane bird" is the animal, "crane" the machine).
"""

import functools
import importlib.resources

import numpy as np
import numpy.typing as npt


@functools.cache
def _names() -> tuple[str, ...]:
    text = importlib.resources.files(__package__).joinpath("imagenet_class_names.txt")
    return tuple(text.read_text(encoding="utf-8").splitlines())


def class_names() -> list[str]:
    """Returns the 1000 short class names, ordered by class id."""
    return list(_names())


def decode(scores: npt.ArrayLike, top: int = 5) -> list:
    """Names the best classes of each image.

    Args:
        scores: Logits or probabilities, float `[n, 1000]`, or `[1000]` for one image.
        top: Number of classes to name, 1 to 1000.

    Returns:
        A list of `top` tuples (class id, name, score) for each image, best first. For scores `[1000]`, the
        list of that image.

    Raises:
        ValueError: If `scores` has another shape, or if `top` is out of range.
    """
    scores = np.asarray(scores)
    names = _names()
    if scores.ndim not in (1, 2) or scores.shape[-1] != len(names):
        raise ValueError(
            f"`scores` must have shape [n, {len(names)}] or [{len(names)}]. Received: shape={scores.shape}"
        )
    if not 1 <= top <= len(names):
        raise ValueError(f"`top` must be between 1 and {len(names)}. Received: top={top}")
    if scores.ndim == 2:
        return [decode(row, top) for row in scores]
    best = np.argsort(-scores, kind="stable")[:top]
    return [(int(i), names[i], float(scores[i])) for i in best]

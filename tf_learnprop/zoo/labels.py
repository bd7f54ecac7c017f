"""Names of the 1000 ImageNet classes, in the order of the zoo models' outputs.

The names are those of torchvision 0.29 (`torchvision/models/_meta.py`, BSD-3-Clause): short, and
each used once ("crane bird" is the animal, "crane" the machine).
"""

import functools
import importlib.resources

import numpy as np


@functools.cache
def _names():
    text = importlib.resources.files(__package__).joinpath("imagenet_class_names.txt")
    return tuple(text.read_text(encoding="utf-8").splitlines())


def class_names():
    """Returns the 1000 short class names, a list whose position is the class index."""
    return list(_names())


def decode(scores, top=5):
    """Names the best classes of each image.

    Args:
        scores: Logits or probabilities, float [n, 1000], or [1000] for one image.
        top: How many classes to name, 1 to 1000.

    Returns:
        A list with one entry an image: `top` tuples (class_index, name, score), best first, the
        score as it was given. For scores [1000], that one entry itself.

    Raises:
        ValueError: If `scores` or `top` are out of shape or range.
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

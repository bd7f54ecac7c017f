"""Sums over channels that a rule and a readout both need. Each reads its two tensors twice over."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.by_sample import by_sample

#: Σ_c relu(y·dy) and Σ_c y·dy, each float32 `[n, ...]`.
Sums = tuple[tf.Tensor, tf.Tensor]

#: By the `id` of y and dy: both, which keeps the ids theirs, and their sums.
_KNOWN: contextvars.ContextVar[dict | None] = contextvars.ContextVar("known_sums", default=None)


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Within it, `of` gives what `share` was given for the same two tensors."""
    token = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(token)


def share(y: tf.Tensor, dy: tf.Tensor, sums: Sums) -> None:
    """Keeps the sums of two tensors for whoever asks for them next."""
    known = _KNOWN.get()
    if known is not None:
        known[id(y), id(dy)] = (y, dy, sums)


def share_with(y: tf.Tensor, same: tf.Tensor, dy: tf.Tensor) -> None:
    """Keeps the sums of `same` and dy, where they were shared, for y as well, which has the same values."""
    known = _KNOWN.get() or {}
    if (id(same), id(dy)) in known:
        share(y, dy, known[id(same), id(dy)][-1])


def of(y: tf.Tensor, dy: tf.Tensor) -> Sums:
    """The sums of y and dy, both float32 `[n, ..., c]`."""
    known = _KNOWN.get() or {}
    key = id(y), id(dy)
    return known[key][-1] if key in known else _traced(y, dy)


def compute(y: tf.Tensor, dy: tf.Tensor) -> Sums:
    """As `of`, computed here."""
    relevance = y * dy
    return tf.reduce_sum(tf.nn.relu(relevance), -1), tf.reduce_sum(relevance, -1)


def _stacked(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return tf.stack(compute(y, dy), 1)


@tracing.for_any_shape
def _traced(y: tf.Tensor, dy: tf.Tensor) -> Sums:
    speaks_for, total = tf.unstack(by_sample(_stacked, y, dy), 2, 1)
    return speaks_for, total

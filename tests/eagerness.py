"""Functions that run eagerly for a while, where a trace would take far longer than what is tested."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def running_eagerly() -> Iterator[None]:
    """Within this context, no `tf.function` is traced when it is called."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)

"""From a Keras model to a wrapped one."""

from tf_learnprop.wrapping.wrap import wrap_model

__all__ = ["wrap_model"]

"""Activations that users declare: layers and functions of their own, whatever their code looks like."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph.layer_kinds import FUSED_LAYERS

Activation = TypeVar("Activation", bound=Callable[..., Any])

_names: dict[Any, str] = {}  # {class or function: name of the activation}


def register_activation(cls_or_function: Activation, name: str | None = None) -> Activation:
    """Declares a layer class or a function of your own an activation, so that a rule can stand behind it.

    Models that are wrapped from then on have a rule wherever they use it: as a layer, in
    `keras.layers.Activation` or `keras.layers.Lambda`, or as the `activation` of a convolution or dense
    layer. It must compute each value of its output from the same value of its one input, and keep the
    shape. A function is checked here, a layer when a model that has it is wrapped.

    Args:
        cls_or_function: Subclass of `keras.layers.Layer`, or a function of one tensor.
        name: Name of the activation in the coverage table. None: that of the class or function.

    Returns:
        The class or function, so that this can be a decorator.

    Raises:
        TypeError: If `cls_or_function` is neither, or `name` is no str.
        ValueError: If it is registered under another name already, is not element-wise, or changes the shape.

    Examples:
        >>> @register_activation
        ... def triangle(x):
        ...     return keras.ops.maximum(x, -x / 2)
    """
    is_layer_class = isinstance(cls_or_function, type) and issubclass(cls_or_function, keras.layers.Layer)
    is_function = callable(cls_or_function) and not isinstance(cls_or_function, (type, keras.Operation))
    if not is_layer_class and not is_function:
        raise TypeError(
            "`cls_or_function` must be a subclass of `keras.layers.Layer` or a function of one tensor. "
            f"Received: cls_or_function={cls_or_function!r}"
        )
    if name is not None and not (isinstance(name, str) and name):
        raise TypeError(f"`name` must be a str that is not empty. Received: name={name!r}")
    name = str(name or getattr(cls_or_function, "__name__", type(cls_or_function).__name__))
    if _names.get(cls_or_function, name) != name:
        raise ValueError(
            "An activation must be registered under one name. "
            f"Received: name={name!r} for what is registered as {_names[cls_or_function]!r}"
        )
    if is_function:
        _check(cls_or_function, f"function {name!r}", (2, 5, 3))
    _names[cls_or_function] = name
    return cls_or_function


def registered_name(activation: Any) -> str | None:
    """Name under which a layer, operation or function is registered; None if it is not."""
    if isinstance(activation, keras.layers.Activation):
        return registered_name(activation.activation)
    if isinstance(activation, keras.layers.Lambda) and activation.function in _names:
        return _names[activation.function]
    if isinstance(activation, keras.Operation):
        return next((_names[cls] for cls in type(activation).__mro__ if cls in _names), None)
    try:
        return _names.get(activation)
    except TypeError:  # a callable object that can't be a key
        return None


def check_uses(calls: Iterable[Any], tensors: list[keras.KerasTensor]) -> None:
    """Raises ValueError for a call of a registered layer that is no activation."""
    for call in calls:
        operation = call.operation
        is_fused = isinstance(operation, FUSED_LAYERS)
        layer = operation.activation if is_fused else operation
        if not isinstance(layer, keras.layers.Layer) or registered_name(layer) is None:
            continue
        if len(call.inputs) != 1 and not is_fused:
            raise ValueError(
                "A registered activation must be called with one tensor. "
                f"Received: {len(call.inputs)} for layer '{call.path}' ({type(layer).__name__})"
            )
        spec = tensors[(call.outputs if is_fused else call.inputs)[0]]
        shape = tuple(2 if size is None else size for size in spec.shape)
        _check(layer, f"layer '{call.path}' ({type(layer).__name__})", shape, spec.dtype)


def _check(function: Callable[..., Any], label: str, shape: tuple[int, ...], dtype: str = "float32") -> None:
    """Raises ValueError unless a function is element-wise and keeps the shape, as numbers show."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=shape)
    changes = generator.integers(0, 2, shape).astype(bool)
    with keras.StatelessScope():
        try:
            y, changed = (function(tf.cast(values, dtype)) for values in (x, x + changes))
        except Exception as error:
            raise ValueError(
                f"A registered activation must take a tensor. Received: {label}, which raises "
                f"{type(error).__name__} for the shape {shape}"
            ) from error
    if tuple(y.shape) != shape:
        raise ValueError(
            f"A registered activation must keep the shape. Received: {label}, which makes {tuple(y.shape)} "
            f"of {shape}"
        )
    before, after = (np.asarray(tf.cast(tensor, tf.float32)) for tensor in (y, changed))
    same = np.isclose(before, after, rtol=1e-3, atol=1e-3, equal_nan=True)
    if not same[~changes].all():
        raise ValueError(
            "A registered activation must be element-wise. "
            f"Received: {label}, whose values depend on others than their own"
        )

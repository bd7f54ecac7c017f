"""`Explainer`: maps from an exported model, in any process that has TensorFlow and NumPy.

A worker that unpickles an `Explainer` loads no modelling code: what is imported here is names and
records.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.explanations import Explanations
from tf_learnprop.serving import contract

#: Lines of TensorFlow's errors that say where in the graph something happened, not what.
_WHERE = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces .*|\s*\[\[.*|.* root error.*|)$"
)


class Explainer:
    """Computes maps with a SavedModel that `PropagationModel.export` has written.

    An explainer holds two strings, so it can be pickled and sent to other processes and machines, which must
    see the same path. Each process loads the model when it first uses it. Threads may share an explainer.

    Args:
        path: Folder of the SavedModel, such as "served/lite0/1", or a URL that TensorFlow can read.
        signature: Name of the signature: "serving_default" or "explain_class" for arrays, "explain_encoded"
            or "explain_encoded_class" for the contents of image files.
    """

    def __init__(self, path: str | os.PathLike[str], signature: str = contract.SERVING_DEFAULT.name) -> None:
        path = os.fspath(path)
        # Another process may have another working directory.
        self.path = path if "://" in path else os.path.abspath(path)
        self.signature = signature
        self._lock = threading.Lock()
        self._loaded: Any = None

    def __repr__(self) -> str:
        return f"Explainer({self.path!r}, signature={self.signature!r})"

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.signature)

    def __call__(self, items: Any, class_ids: npt.ArrayLike | None = None) -> Explanations:
        """Explains a batch.

        Args:
            items: Preprocessed images, an array `[n, h, w, c]` or a sequence of arrays `[h, w, c]`; a dict of
                such for a model with several inputs; or a sequence of bytes, the contents of image files, for
                "explain_encoded" and "explain_encoded_class".
            class_ids: Classes to explain, an int or ints `[n]`, for the signatures of a given class.

        Returns:
            `tlp.Explanations`; of a model that explains several inputs, with a dict of maps by their names.
            An item that is broken, not finite or of the wrong size, or whose class does not exist, gets an
            entry in `errors`; the others are explained.

        Raises:
            FileNotFoundError: If `path` holds no SavedModel.
            ValueError: If the model has no such signature, or the batch does not fit the signature.
        """
        function = self._function()
        specs = dict(function.structured_input_signature[1])
        columns = _columns(items, class_ids, specs, self.signature)
        count = len(next(iter(columns.values())))
        rows, errors = _fitting(columns, specs, count)
        outputs = {name: _empty(spec, count) for name, spec in function.structured_outputs.items()}
        outputs.pop(contract.OVERLAYS, None)
        batch = {name: [column[row] for row in rows] for name, column in columns.items()}
        results = _run(function, batch, specs, rows, errors)
        for part, result in results:
            for name, filled in outputs.items():
                if filled.shape[1:] != result[name].shape[1:]:  # the model's size is free
                    outputs[name] = filled = _empty(result[name], count)
                filled[part] = result[name]
        names = contract.explained_inputs(outputs)
        maps = {name: outputs[name] for name in names} if names else outputs[contract.MAPS]
        ids, probabilities = outputs[contract.CLASS_IDS], outputs[contract.PROBABILITIES]
        return Explanations(maps, ids, probabilities, (), dict(sorted(errors.items())))

    def _function(self) -> Any:
        with self._lock:
            if self._loaded is None:
                if not tf.io.gfile.exists(os.path.join(self.path, "saved_model.pb")):
                    raise FileNotFoundError(
                        "`path` must be the folder of an exported model, such as 'served/my_model/1'. "
                        f"Received: path='{self.path}'"
                    )
                self._loaded = tf.saved_model.load(self.path)
        argument_checks.one_of("signature", self.signature, self._loaded.signatures)
        function = self._loaded.signatures[self.signature]
        outputs = sorted(function.structured_outputs)
        if contract.MAPS not in outputs and not contract.explained_inputs(outputs):
            raise ValueError(
                f"`signature` must return '{contract.MAPS}'. "
                f"Received: signature={self.signature!r}, which returns {outputs}"
            )
        return function


def _columns(
    items: Any, class_ids: npt.ArrayLike | None, specs: Mapping[str, tf.TensorSpec], signature: str
) -> dict[str, Any]:
    """The items of each input by name, sequences of one length."""
    names = [name for name in specs if name != contract.CLASS_IDS]
    if isinstance(items, Mapping):
        columns = dict(items)
    elif len(names) == 1:
        columns = {names[0]: items}
    else:
        columns = {}
    if sorted(columns) != sorted(names):
        raise ValueError(
            f"`items` must be a dict with the inputs {sorted(names)}. Received: {sorted(columns)}"
        )
    for name, column in columns.items():
        array = hasattr(column, "ndim")
        if not (array or isinstance(column, Sequence)) or isinstance(column, (str, bytes)):
            kind = type(column).__name__
            raise ValueError(
                f"`items` must be an array or a sequence of items. Received: {kind} for '{name}'"
            )
        if array and column.ndim != specs[name].shape.rank:
            raise ValueError(
                f"'{name}' must have shape {_sides(specs[name].shape)}. Received: shape={column.shape}"
            )
    count = len(next(iter(columns.values())))
    if (class_ids is not None) != (contract.CLASS_IDS in specs):
        rule = "requires" if class_ids is None else "has no"
        raise ValueError(f"The signature '{signature}' {rule} `class_ids`. Received: class_ids={class_ids!r}")
    if class_ids is not None:
        ids = np.asarray(class_ids)
        if ids.dtype.kind not in "iu" or ids.ndim > 1:
            raise ArgumentError("class_ids", "be an int or ints [n]", class_ids)
        columns[contract.CLASS_IDS] = np.broadcast_to(ids, count) if ids.ndim == 0 else ids
    lengths = sorted({len(column) for column in columns.values()})
    if lengths != [count] or not count:
        raise ValueError(
            f"All inputs must have the same length, and hold at least one item. Received: {lengths}"
        )
    return columns


def _fitting(
    columns: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec], count: int
) -> tuple[list[int], dict[int, str]]:
    """Rows of the items that have the right type and size, and the errors of the others."""
    rows: list[int] = []
    errors: dict[int, str] = {}
    common = None
    for row in range(count):
        try:
            sizes = [_size(name, column[row], specs[name]) for name, column in columns.items()]
            common = common or sizes
            if sizes != common:
                raise ValueError(f"All items of a batch must have shapes {common}. Received: {sizes}")
            rows.append(row)
        except ValueError as error:
            errors[row] = str(error)
    return rows, errors


def _size(name: str, item: Any, spec: tf.TensorSpec) -> tuple[int, ...]:
    if spec.dtype == tf.string:
        if not isinstance(item, bytes):
            kind = type(item).__name__
            raise ValueError(f"'{name}' must be the content of an image file, bytes. Received: {kind}")
        return ()
    array = np.asarray(item)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"'{name}' must hold numbers. Received: dtype={array.dtype}")
    if not spec.shape[1:].is_compatible_with(array.shape):
        raise ValueError(f"'{name}' must have shape {_sides(spec.shape[1:])}. Received: shape={array.shape}")
    return array.shape


def _run(
    function: Callable[..., Any],
    batch: Mapping[str, list[Any]],
    specs: Mapping[str, tf.TensorSpec],
    rows: list[int],
    errors: dict[int, str],
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """Yields rows and their results. A batch that fails is halved until the bad items are found."""
    if not rows:
        return
    try:
        tensors = {name: _tensor(items, specs[name].dtype) for name, items in batch.items()}
        result = {name: tensor.numpy() for name, tensor in function(**tensors).items()}
    except tf.errors.InvalidArgumentError as error:
        if len(rows) == 1:
            errors[rows[0]] = _plain(error.message)
            return
        half = len(rows) // 2
        for part in (slice(half), slice(half, None)):
            items = {name: column[part] for name, column in batch.items()}
            yield from _run(function, items, specs, rows[part], errors)
        return
    yield rows, result


def _tensor(items: list[Any], dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.constant(items, tf.string)
    with np.errstate(all="ignore"):  # a value that is too large becomes infinite, which the model reports
        return tf.constant(np.stack([np.asarray(item) for item in items]).astype(dtype.as_numpy_dtype))


def _empty(spec: Any, count: int) -> Any:
    """An array of `count` rows without a result."""
    dtype = np.dtype(getattr(spec.dtype, "as_numpy_dtype", spec.dtype))
    shape = [count, *(side or 0 for side in spec.shape[1:])]
    return np.full(shape, -1 if dtype.kind == "i" else np.nan, dtype) if dtype.kind in "if" else None


def _plain(message: str) -> str:
    """What an error of TensorFlow says, in one line."""
    rule = re.search(r"assertion failed: \[(.*?)[.\s]*\]", message)
    if rule:
        return rule[1]
    lines = [re.sub(r"\s*\[\[.*|\s*\[Op:.*|^\s*\(\d+\) \w+:\s*", "", line) for line in message.splitlines()]
    return " ".join(line.strip() for line in lines if not _WHERE.match(line.strip())) or message


def _sides(shape: tf.TensorShape) -> tuple[int | None, ...]:
    return tuple(shape.as_list())

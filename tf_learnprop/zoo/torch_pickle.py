"""Reads a state dict in torch's legacy format (before the zip archives of torch 1.6) without torch.

Such a file is a sequence of five pickles: a magic number, a protocol version, facts about the machine that
wrote it, the state dict with persistent ids instead of storages, and the list of storage keys. The storages
follow in the order of that list: an int64 count of elements, then the elements, always little-endian.

A pickle can call any function by name, so this unpickler resolves only the names that a state dict needs. It
does not limit the memory that a hostile file may request.
"""

import collections
import io
import math
import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}


class _RefusedGlobal(pickle.UnpicklingError):
    """A name that is not allowed, as opposed to the errors of a damaged pickle."""


class _Storage(NamedTuple):
    type_name: str
    key: str
    length: int


class _Tensor(NamedTuple):
    """A view on a storage whose elements come later in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            # The bare name: unlike a dtype or a class it can be neither called nor altered.
            return name
        raise _RefusedGlobal(
            "A state dict may name only OrderedDict, torch's tensor builder and its storage "
            f"types. Received: {module}.{name}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        tag, type_name, key, _device, count, view = pid
        if tag != "storage" or type_name not in _STORAGE_DTYPES:
            raise ValueError(f"unknown persistent id {pid!r}")
        if view is not None:
            raise ValueError(f"storage {key!r} is a view on another storage, which is not read")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise ValueError(f"storage {key!r} of {count!r} elements")
        storage = _Storage(type_name, key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r} is described twice, differently")
        return storage

    @staticmethod
    def _rebuild_tensor(
        storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_gradient_facts: Any
    ) -> _Tensor:
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


def load_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a legacy torch state dict.

    Args:
        path: Path of a file written by `torch.save(model.state_dict(), path)` before torch 1.6,
            or later with `_use_new_zipfile_serialization=False`.

    Returns:
        Dict from tensor names to C-contiguous arrays of the tensors' shapes and dtypes.

    Raises:
        pickle.UnpicklingError: If the pickle names a global that a state dict does not need.
        ValueError: If the file is truncated, damaged, or in another format.
    """
    data = pathlib.Path(path).read_bytes()
    if data.startswith(b"PK\x03\x04"):
        raise ValueError(
            "The state dict must be in torch's legacy format (save it with "
            f"`_use_new_zipfile_serialization=False`). Received: a zip archive, {path}"
        )
    try:
        return _parse(io.BytesIO(data))
    except _RefusedGlobal:
        raise
    except Exception as error:
        # A damaged pickle can raise nearly anything (EOFError, KeyError, TypeError, ...); for the caller all
        # of it means that the file is damaged.
        raise ValueError(
            f"{path} must be a complete legacy torch state dict. Received: {type(error).__name__}: {error}"
        ) from error


def _parse(file: BinaryIO) -> dict[str, np.ndarray]:
    magic = _Unpickler(file).load()
    if magic != _MAGIC:
        raise ValueError("the magic number is not torch's")
    protocol = _Unpickler(file).load()
    if protocol != _PROTOCOL:
        raise ValueError(f"protocol version {protocol!r} instead of {_PROTOCOL}")
    _Unpickler(file).load()  # the writing machine: its sizes and byte order do not matter here

    unpickler = _Unpickler(file)
    state = unpickler.load()
    keys = _Unpickler(file).load()
    if not isinstance(state, dict):
        raise ValueError(f"the file holds a {type(state).__name__}, not a dict of tensors")
    if not isinstance(keys, list) or sorted(keys) != sorted(unpickler.storages):
        raise ValueError("the list of storages does not match the storages that tensors name")

    elements = {key: _read_storage(file, unpickler.storages[key]) for key in keys}
    surplus = len(file.read())
    if surplus:
        raise ValueError(f"{surplus} bytes follow the last storage")
    return {name: _materialise(name, tensor, elements) for name, tensor in state.items()}


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    dtype = np.dtype(_STORAGE_DTYPES[storage.type_name])
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storage.length:
        raise ValueError(f"storage {storage.key!r} has {count} elements, not {storage.length}")
    raw = file.read(count * dtype.itemsize)
    if len(raw) != count * dtype.itemsize:
        raise ValueError(f"storage {storage.key!r} ends after {len(raw)} bytes")
    values = np.frombuffer(raw, dtype)
    return values.astype(bool) if storage.type_name == "BoolStorage" else values


def _materialise(name: Any, tensor: Any, elements: Mapping[str, np.ndarray]) -> np.ndarray:
    if not isinstance(name, str) or not isinstance(tensor, _Tensor):
        raise ValueError(f"entry {name!r} is a {type(tensor).__name__}, not a tensor")
    storage, offset, shape, strides = tensor
    numbers = (offset, *shape, *strides)
    if not all(isinstance(n, int) and n >= 0 for n in numbers) or len(shape) != len(strides):
        raise ValueError(f"{name}: offset {offset}, shape {shape}, strides {strides}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # The first bound keeps stride 0 from blowing a few bytes up to any size.
    if size > storage.length or (size and last >= storage.length):
        raise ValueError(f"{name}: shape {shape} goes past its {storage.length} elements")
    values = elements[storage.key]
    if not size:
        return np.zeros(shape, values.dtype)
    steps = [stride * values.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
    return np.array(view, order="C")

"""Opens the containers of a rule file, HDF5 and zip, without trusting them.

A file may be damaged or hostile. So nothing is read before its size is known, and no link is followed.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import h5py
import numpy as np

from tf_learnprop.rule_files.rule_config import BLANK_CHECKSUM

_MEMBER = "model.weights.h5"
_CONFIG = "/vars/config"

_MEGABYTE = 2**20
_MAX_FILE = 64 * _MEGABYTE  # also for the HDF5 file inside a `.keras` file
_MAX_CONFIG = 2 * _MEGABYTE
_MAX_ZIP_DIRECTORY = 2**16
_MAX_OBJECTS = 2**15
_MAX_DEPTH = 16


@contextlib.contextmanager
def hdf5_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the path of the HDF5 file: `path` itself, or a copy of what a `.keras` file holds."""
    _check_size(path.stat().st_size)
    if path.name.endswith(".weights.h5"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "rules.weights.h5")
        with open(path, "rb") as stream:
            _check_zip_directory(stream)
            with zipfile.ZipFile(stream) as archive:
                member = archive.getinfo(_MEMBER)
                _check_size(member.file_size)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError("The archive must be stored or deflated.")
                # In pieces: `read()` unpacks all there is before it looks at the size.
                with archive.open(member) as source, open(copy, "wb") as target:
                    shutil.copyfileobj(source, target, _MEGABYTE)
        yield copy


def _check_size(size: int) -> None:
    if size > _MAX_FILE:
        raise ValueError(
            f"A rule file must have at most {_MAX_FILE // _MEGABYTE} MB. Received: {size / _MEGABYTE:.1f} MB"
        )


def _check_zip_directory(stream: BinaryIO) -> None:
    """Checks the size of an archive's directory, which `zipfile` reads as a whole when it opens the archive.

    Keras writes neither a comment nor the ZIP64 records that could give another size.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 42))
    end = stream.read().rjust(42, b"\0")
    plain = end[20:24] == b"PK\5\6" and end[40:] == b"\0\0" and end[:4] != b"PK\6\7"
    if not plain or int.from_bytes(end[32:36], "little") > _MAX_ZIP_DIRECTORY:
        raise ValueError("The archive must end in a directory as Keras writes it.")


def read(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Reads an HDF5 file and verifies its checksum.

    Args:
        path: The one that `hdf5_file` gives.

    Returns:
        The configuration, and the weights as a dict {name in the file: array}.

    Raises:
        Exception: If the file is damaged; of many kinds.
    """
    with h5py.File(path, "r") as file:
        text, weights = _contents(file)
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("The configuration must be a dict.")
    checksum = str(config.get("checksum")).encode()
    if checksum != _checksum(text.replace(checksum, BLANK_CHECKSUM.encode()), weights):
        raise ValueError("The checksum does not match: the file is damaged.")
    return config, weights


def seal(path: pathlib.Path) -> None:
    """Puts the checksum into a rule file that Keras has written, in place of `BLANK_CHECKSUM`.

    Raises:
        ValueError: If the file is larger than a rule file may be.
    """
    with hdf5_file(path) as copy:
        with h5py.File(copy, "r+") as file:
            text, weights = _contents(file)
            sealed = text.replace(BLANK_CHECKSUM.encode(), _checksum(text, weights))
            file[_CONFIG][...] = np.frombuffer(sealed, np.uint8)
        if copy == path:
            return
        with zipfile.ZipFile(path) as archive:
            others = {info: archive.read(info) for info in archive.infolist() if info.filename != _MEMBER}
        with zipfile.ZipFile(path, "w") as archive:
            for info, content in others.items():
                archive.writestr(info, content)
            archive.write(copy, _MEMBER)


def _checksum(text: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 over the configuration, with the blank checksum, and all weights; 64 hexadecimal digits."""
    digest = hashlib.sha256(text)
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype.name} {value.shape}".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest().encode()


def _contents(file: h5py.File) -> tuple[bytes, dict[str, np.ndarray]]:
    """The configuration as JSON, and a dict {name: array} of all other arrays."""
    allowed, text = os.stat(file.filename).st_size, None
    weights: dict[str, np.ndarray] = {}
    for name, dataset in _datasets(file):
        allowed -= _checked_size(name, dataset)
        if allowed < 0:
            raise ValueError("The arrays must not be larger than the file.")
        if name == _CONFIG:
            if dataset.dtype != np.uint8 or dataset.ndim != 1 or dataset.size > _MAX_CONFIG:
                raise ValueError(f"'{name}' must hold at most {_MAX_CONFIG} bytes.")
            text = dataset[()].tobytes()
        else:
            value = dataset[()]
            weights[name] = np.asarray(value.view("bfloat16") if value.dtype.kind == "V" else value)
    if text is None:
        raise ValueError(f"There must be a configuration at '{_CONFIG}'.")
    return text, weights


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields (name, dataset) for all datasets of an HDF5 file."""
    pending, count = [("", file, 0)], 0
    while pending:
        prefix, group, depth = pending.pop()
        for key in group:
            name, count = f"{prefix}/{key}", count + 1
            if count > _MAX_OBJECTS or depth > _MAX_DEPTH:
                raise ValueError(f"The file must have at most {_MAX_OBJECTS} objects, {_MAX_DEPTH} deep.")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"'{name:.200}' must not be a link to another place.")
            item = group[key]
            if isinstance(item, h5py.Group):
                pending.append((name, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                yield name, item
            else:
                raise ValueError(f"'{name:.200}' must be a group or an array.")


def _checked_size(name: str, dataset: h5py.Dataset) -> int:
    """Bytes of an array that is stored as Keras stores it: numbers, uncompressed, in the file itself."""
    dtype, layout = dataset.dtype, dataset.id.get_create_plist()
    is_bfloat16 = dtype.kind == "V" and dtype.names is None and dtype.subdtype is None and dtype.itemsize == 2
    if not (is_bfloat16 or dtype.kind in "fiub" and dtype.itemsize <= 8):
        raise ValueError(f"'{name:.200}' must hold numbers. Received: dtype={dtype!s:.200}")
    if is_bfloat16 != (len(dataset.attrs) > 0) or is_bfloat16 and _size_of_attributes(dataset) > 64:
        raise ValueError(f"'{name:.200}' must have no attributes.")
    if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or layout.get_external_count():
        raise ValueError(f"'{name:.200}' must be stored in one piece, uncompressed, in the file itself.")
    size = None if dataset.shape is None else math.prod(dataset.shape) * dtype.itemsize
    if size != dataset.id.get_storage_size():
        raise ValueError(f"'{name:.200}' must be stored in full. Received: shape={dataset.shape}")
    return size


def _size_of_attributes(dataset: h5py.Dataset) -> int:
    return sum(dataset.attrs.get_id(name).get_storage_size() for name in dataset.attrs)

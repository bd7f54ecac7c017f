"""Runs an exported model through TensorFlow's C API, without TensorFlow's Python package.

    python examples/serving/c_api.py served/efficientnet_lite0/1 photo.jpg --out overlay.png

`TF_LoadSessionFromSavedModel` is the loader that TensorFlow Serving uses, so this is what a server or an
application in C or C++ does. The library is the one in the installed tensorflow wheel (Linux).
"""

import argparse
import ctypes
import importlib.util
import pathlib
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_void_p

import numpy as np

_STRING = 7
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_, 19: np.float16}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}
_BYTES_OF_TSTRING = 24


class _Buffer(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


class _Output(Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


_FUNCTIONS = {
    "TF_NewStatus": (c_void_p,),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_NewGraph": (c_void_p,),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_NewBuffer": (POINTER(_Buffer),),
    "TF_DeleteBuffer": (None, POINTER(_Buffer)),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        *(c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int),
        *(c_void_p, POINTER(_Buffer), c_void_p),
    ),
    "TF_CloseSession": (None, c_void_p, c_void_p),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_DeleteTensor": (None, c_void_p),
    "TF_TensorType": (c_int, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_TensorByteSize": (c_size_t, c_void_p),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_StringInit": (None, c_void_p),
    "TF_StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "TF_StringDealloc": (None, c_void_p),
    "TF_StringGetDataPointer": (c_void_p, c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
    "TF_SessionRun": (
        None,
        *(c_void_p, c_void_p),
        *(POINTER(_Output), POINTER(c_void_p), c_int),
        *(POINTER(_Output), POINTER(c_void_p), c_int),
        *(c_void_p, c_int, c_void_p, c_void_p),
    ),
}


def _load_library():
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class RequestError(Exception):
    """A status other than OK: its code and TensorFlow's message."""


class SavedModel:
    """A SavedModel with the tag "serve"; `run` may be called from several threads.

    Args:
        path: folder of the SavedModel.

    Attributes:
        signatures: dict from the name of a signature to (inputs, outputs), each a dict from a name to
            the tensor's name in the graph.
    """

    def __init__(self, path):
        self._tf = tf = _load_library()
        self._graph, options, definition = tf.TF_NewGraph(), tf.TF_NewSessionOptions(), tf.TF_NewBuffer()
        tags = (c_char_p * 1)(b"serve")
        self._session = self._checked(
            lambda status: tf.TF_LoadSessionFromSavedModel(
                options, None, str(path).encode(), tags, 1, self._graph, definition, status
            )
        )
        content = ctypes.string_at(definition.contents.data, definition.contents.length)
        self.signatures = dict(_signatures(content))
        tf.TF_DeleteBuffer(definition)
        tf.TF_DeleteSessionOptions(options)

    def run(self, signature, inputs):
        """Runs a signature.

        Args:
            signature: Name of the signature.
            inputs: Dict from the names of all its inputs to arrays; strings are object arrays of `bytes`.

        Returns:
            Dict from the names of its outputs to arrays.

        Raises:
            RequestError: If TensorFlow reports an error.
        """
        tf = self._tf
        wanted, given = self.signatures[signature][1], self.signatures[signature][0]
        feeds = [self._tensor(np.asarray(inputs[name])) for name in given]
        fetches = (c_void_p * len(wanted))()
        try:
            self._checked(
                lambda status: tf.TF_SessionRun(
                    self._session,
                    None,
                    *(self._places(given), (c_void_p * len(feeds))(*feeds), len(feeds)),
                    *(self._places(wanted), fetches, len(wanted)),
                    *(None, 0, None, status),
                )
            )
            return {name: self._array(tensor) for name, tensor in zip(wanted, fetches, strict=True)}
        finally:
            for tensor in feeds:
                self._free_strings(tensor)
            for tensor in filter(None, [*feeds, *fetches]):
                tf.TF_DeleteTensor(tensor)

    def close(self):
        """Frees the model."""
        self._checked(lambda status: self._tf.TF_CloseSession(self._session, status))
        self._checked(lambda status: self._tf.TF_DeleteSession(self._session, status))
        self._tf.TF_DeleteGraph(self._graph)

    def _checked(self, call):
        status = self._tf.TF_NewStatus()
        try:
            result = call(status)
            code = self._tf.TF_GetCode(status)
            if code:
                raise RequestError(f"{code}: {self._tf.TF_Message(status).decode()}")
            return result
        finally:
            self._tf.TF_DeleteStatus(status)

    def _places(self, tensors):
        """The graph tensors of a signature; "name:1" is output 1 of operation "name"."""
        parts = [name.rpartition(":") for name in tensors.values()]
        found = [self._tf.TF_GraphOperationByName(self._graph, name.encode()) for name, _, _ in parts]
        outputs = [_Output(op, int(index)) for op, (_, _, index) in zip(found, parts, strict=True)]
        return (_Output * len(outputs))(*outputs)

    def _tensor(self, array):
        shape = (c_int64 * array.ndim)(*array.shape)
        if array.dtype == object:
            size = array.size * _BYTES_OF_TSTRING
            tensor = self._tf.TF_AllocateTensor(_STRING, shape, array.ndim, size)
            for place, content in zip(self._strings(tensor), array.flat, strict=True):
                self._tf.TF_StringInit(place)
                self._tf.TF_StringCopy(place, content, len(content))
            return tensor
        tensor = self._tf.TF_AllocateTensor(_NUMBERS[array.dtype], shape, array.ndim, array.nbytes)
        array = np.ascontiguousarray(array)
        ctypes.memmove(self._tf.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _array(self, tensor):
        shape = [self._tf.TF_Dim(tensor, axis) for axis in range(self._tf.TF_NumDims(tensor))]
        kind = self._tf.TF_TensorType(tensor)
        if kind == _STRING:
            get, size = self._tf.TF_StringGetDataPointer, self._tf.TF_StringGetSize
            strings = [ctypes.string_at(get(place), size(place)) for place in self._strings(tensor)]
            return np.array(strings, object).reshape(shape)
        content = ctypes.string_at(self._tf.TF_TensorData(tensor), self._tf.TF_TensorByteSize(tensor))
        return np.frombuffer(content, _DTYPES[kind]).reshape(shape)

    def _strings(self, tensor):
        """Addresses of the strings in a tensor."""
        start, size = self._tf.TF_TensorData(tensor), self._tf.TF_TensorByteSize(tensor)
        return range(start or 0, (start or 0) + size, _BYTES_OF_TSTRING)

    def _free_strings(self, tensor):
        # A tensor of the C API frees its own memory, not what its strings point to.
        if self._tf.TF_TensorType(tensor) == _STRING:
            for place in self._strings(tensor):
                self._tf.TF_StringDealloc(place)


def _signatures(meta_graph):
    """Yields (name, (inputs, outputs)) of a serialised MetaGraphDef.

    Field numbers are those of tensorflow/core/protobuf/meta_graph.proto; a map is a list of entries with the
    key in field 1 and the value in field 2.
    """
    for entry in _fields(meta_graph, 5):
        definition = _fields(entry, 2)[0]
        ends = [
            {
                _fields(end, 1)[0].decode(): _fields(_fields(end, 2)[0], 1)[0].decode()
                for end in _fields(definition, field)
            }
            for field in (1, 2)
        ]
        if ends[0]:  # the signature of the initialiser has no inputs
            yield _fields(entry, 1)[0].decode(), tuple(ends)


def _fields(message, wanted):
    """Contents of the length-delimited fields number `wanted` of a protocol buffer."""
    found, position = [], 0

    def varint():
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            varint()
            continue
        length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        if kind == 2 and number == wanted:
            found.append(message[position : position + length])
        position += length
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="folder of the SavedModel, its version number last")
    parser.add_argument("photo", type=pathlib.Path, help="JPEG or PNG")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("overlay.png"))
    arguments = parser.parse_args()
    encoded = np.array([arguments.photo.read_bytes()], object)
    answer = SavedModel(arguments.model).run("explain_encoded", {"encoded": encoded})
    print(f"class {answer['class_ids'][0]}, probability {answer['probabilities'][0]:.3f}")
    arguments.out.write_bytes(answer["overlays_bytes"][0])
    print(f"overlay written to {arguments.out}")


if __name__ == "__main__":
    main()

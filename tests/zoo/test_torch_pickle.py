import io
import os
import pickle
import struct
import sys
import types
from collections import Counter, OrderedDict

import numpy as np
import pytest

from tf_learnprop.zoo.torch_pickle import load_state_dict

MAGIC = 0x1950A86A20F9469CFC6C


class Tensor:
    """What the stand-in for torch's pickling below turns into a tensor of the file."""

    def __init__(self, key, offset, shape, strides):
        self.args = (key, offset, shape, strides)


@pytest.fixture
def fake_torch(monkeypatch):
    """Modules that lend their names to the pickle; the reader under test never imports them."""

    def named(name, module):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = module, name
        return function

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "LongStorage", "BoolStorage", "QInt8Storage"):
        setattr(torch, name, named(name, "torch"))
    utils._rebuild_tensor_v2 = named("_rebuild_tensor_v2", "torch._utils")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


@pytest.fixture
def write(tmp_path, fake_torch):
    """Returns a function that writes a legacy file and returns its path."""

    def write(
        state,
        storages,
        *,
        magic=MAGIC,
        protocol=1001,
        counts=None,
        keys=None,
        surplus=b"",
        view=None,
    ):
        """`storages`: key -> (type name, array)."""

        class Storage:
            def __init__(self, key):
                self.key = key

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj):
                if not isinstance(obj, Storage):
                    return None
                type_name, values = storages[obj.key]
                return "storage", getattr(fake_torch, type_name), obj.key, "cpu", values.size, view

            def reducer_override(self, obj):
                if not isinstance(obj, Tensor):
                    return NotImplemented
                key, offset, shape, strides = obj.args
                rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
                arguments = (Storage(key), offset, shape, strides, False, OrderedDict())
                return rebuild, arguments

        file = io.BytesIO()
        pickle.dump(magic, file, 2)
        pickle.dump(protocol, file, 2)
        pickle.dump({"little_endian": True}, file, 2)
        Pickler(file, 2).dump(state)
        pickle.dump(sorted(storages) if keys is None else keys, file, 2)
        for key in sorted(storages):
            values = storages[key][1]
            file.write(struct.pack("<q", (counts or {}).get(key, values.size)))
            file.write(values.astype(values.dtype.newbyteorder("<")).tobytes())
        path = tmp_path / "weights.pth"
        path.write_bytes(file.getvalue() + surplus)
        return path

    return write


FLOATS = np.arange(24, dtype=np.float32) / 8
SIMPLE = (
    OrderedDict(kernel=Tensor("1", 0, (4, 6), (6, 1))),
    {"1": ("FloatStorage", FLOATS)},
)


class TestValues:
    def test_strides_and_offset(self, write):
        # The layout that a permuted tensor has, starting past the first elements.
        path = write(
            OrderedDict(
                transposed=Tensor("1", 4, (5, 2, 2), (1, 10, 5)),
                row=Tensor("1", 6, (3,), (2,)),
                repeated=Tensor("1", 3, (4, 2), (0, 1)),
                scalar=Tensor("1", 23, (), ()),
                empty=Tensor("1", 0, (0, 3), (3, 1)),
            ),
            {"1": ("FloatStorage", FLOATS)},
        )
        read = load_state_dict(path)

        assert list(read) == ["transposed", "row", "repeated", "scalar", "empty"]
        for i in range(5):
            for j in range(2):
                for k in range(2):
                    assert read["transposed"][i, j, k] == FLOATS[4 + i + 10 * j + 5 * k]
        np.testing.assert_array_equal(read["row"], FLOATS[[6, 8, 10]])
        np.testing.assert_array_equal(read["repeated"], np.tile(FLOATS[3:5], (4, 1)))
        assert read["scalar"].shape == () and read["scalar"] == FLOATS[23]
        assert read["empty"].shape == (0, 3)
        assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in read.values())

    def test_dtypes_and_order_of_storages(self, write):
        storages = {
            "9": ("HalfStorage", np.array([1.5, -2.0], np.float16)),
            "10": ("LongStorage", np.array([2**40, -1, 7], np.int64)),
            "2": ("BoolStorage", np.array([1, 0], np.uint8)),
        }
        state = OrderedDict((key, Tensor(key, 0, (v.size,), (1,))) for key, (_, v) in storages.items())
        read = load_state_dict(write(state, storages))
        for key, (_, values) in storages.items():
            np.testing.assert_array_equal(read[key], values)
        assert [str(read[key].dtype) for key in storages] == ["float16", "int64", "bool"]

    def test_attributes_of_the_dict_are_let_be(self, write):
        state, storages = SIMPLE
        state = OrderedDict(state)
        state._metadata = OrderedDict({"": {"version": 1}})  # as torch writes it
        np.testing.assert_array_equal(load_state_dict(write(state, storages))["kernel"], FLOATS.reshape(4, 6))


class TestRefusedGlobals:
    class Payload:
        def __init__(self, function, *args):
            self.reduced = function, args

        def __reduce__(self):
            return self.reduced

    def test_nothing_is_run(self, write, tmp_path):
        mark = tmp_path / "mark"
        state, storages = SIMPLE
        state = OrderedDict(state, extra=self.Payload(os.system, f"touch '{mark}'"))
        with pytest.raises(pickle.UnpicklingError, match=rf"Received: {os.name}\.system"):
            load_state_dict(write(state, storages))
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("payload", "name"),
        [
            (Payload(eval, "1"), r"__builtin__\.eval"),
            (Payload(getattr, 1, "real"), r"__builtin__\.getattr"),
            (Counter(a=1), r"collections\.Counter"),
            (np.zeros(1), r"numpy\.[a-z._]*_reconstruct"),
        ],
    )
    def test_is_named(self, write, payload, name):
        with pytest.raises(pickle.UnpicklingError, match=name):
            load_state_dict(write(OrderedDict(a=payload), {}))

    def test_unknown_torch_name(self, write):
        state, _ = SIMPLE
        path = write(state, {"1": ("QInt8Storage", FLOATS)})
        with pytest.raises(pickle.UnpicklingError, match=r"torch\.QInt8Storage"):
            load_state_dict(path)

    def test_in_the_header(self, tmp_path):
        path = tmp_path / "weights.pth"
        path.write_bytes(pickle.dumps(self.Payload(os.system, "true"), 2))
        with pytest.raises(pickle.UnpicklingError, match=r"\.system"):
            load_state_dict(path)


class TestDamagedFiles:
    def test_truncated_anywhere(self, write, tmp_path):
        data = write(*SIMPLE).read_bytes()
        path = tmp_path / "truncated.pth"
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match="complete legacy torch state dict"):
                load_state_dict(path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"magic": MAGIC + 1}, "magic number"),
            ({"protocol": 1000}, "protocol version 1000"),
            ({"counts": {"1": 23}}, "has 23 elements, not 24"),
            ({"counts": {"1": -24}}, "has -24 elements, not 24"),
            ({"keys": []}, "list of storages"),
            ({"keys": ["1", "1"]}, "list of storages"),
            ({"surplus": b"\0"}, "1 bytes follow"),
            ({"view": ("2", 0, 4)}, "view on another storage"),
        ],
    )
    def test_wrong_parts(self, write, changes, message):
        with pytest.raises(ValueError, match=message):
            load_state_dict(write(*SIMPLE, **changes))

    @pytest.mark.parametrize(
        "tensor",
        [
            Tensor("1", 0, (5, 5), (5, 1)),
            Tensor("1", 1, (4, 6), (6, 1)),
            Tensor("1", 0, (4, 6), (7, 1)),
            Tensor("1", 0, (10**9,), (0,)),
            Tensor("1", 23, (2,), (-1,)),
            Tensor("1", -1, (2,), (1,)),
            Tensor("1", 0, (2, 2), (1,)),
            Tensor("1", 0, (2.0,), (1,)),
        ],
    )
    def test_tensor_outside_its_storage(self, write, tensor):
        with pytest.raises(ValueError, match="kernel: "):
            load_state_dict(write(OrderedDict(kernel=tensor), SIMPLE[1]))

    @pytest.mark.parametrize("state", [[1, 2], OrderedDict(epoch=3)])
    def test_not_a_state_dict(self, write, state):
        with pytest.raises(ValueError, match="not a"):
            load_state_dict(write(state, {}))

    def test_zip_format(self, tmp_path):
        path = tmp_path / "weights.pth"
        path.write_bytes(b"PK\x03\x04rest")
        with pytest.raises(ValueError, match="legacy format"):
            load_state_dict(path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            load_state_dict(tmp_path / "none.pth")

"""Rule files made to harm whoever loads them. Each function below writes one, from a good one.

Run as a program, it loads every file of a folder. For each it prints the error, and by how much the peak of
the process's memory rose, as JSON. The process may take 2 GB more than it has at the start.
"""

import io
import json
import pathlib
import resource
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from tf_learnprop.rule_files import container, rule_config

Writer = Callable[[pathlib.Path], None]

#: {name: (ending of the file, what the error says, function that writes it)}
EXAMPLES: dict[str, tuple[str, str, Writer]] = {}


def example(suffix: str, error: str) -> Callable[[Writer], Writer]:
    """Registers a function that writes a file of the given ending; loading it gives an error that matches."""

    def register(function: Writer) -> Writer:
        EXAMPLES[function.__name__] = (suffix, error, function)
        return function

    return register


def edit_config(path: pathlib.Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrites the configuration in a `.weights.h5` file, with the checksum that then belongs to it."""
    blank = rule_config.BLANK_CHECKSUM
    with h5py.File(path, "r+") as file:
        config = {**json.loads(file["vars/config"][()].tobytes()), "checksum": blank}
        change(config)
        replace(file, "vars/config", np.frombuffer(json.dumps(config).encode(), np.uint8))
    if config.get("checksum") == blank:
        container.seal(path)


def replace(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


def first_kernel(file: h5py.File) -> str:
    """Name of the first weight of rank 2."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 2 else None)
    return found[0]


def rewrite_zip(path: pathlib.Path, method: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)


# -- zip archives --------------------------------------------------------------------------------------------


@example(".keras", "at most 64 MB")
def zip_bomb(path: pathlib.Path) -> None:
    rewrite_zip(path, zipfile.ZIP_DEFLATED, model__weights__h5=bytes(300 * 2**20))


@example(".keras", "not a whole file")
def zip_bomb_that_lies_about_its_size(path: pathlib.Path) -> None:
    zip_bomb(path)
    content = bytearray(path.read_bytes())
    for position in (content.index(b"PK\3\4") + 22, content.rindex(b"PK\1\2") + 24):
        content[position : position + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)


@example(".keras", "stored or deflated")
def zip_bomb_of_another_method(path: pathlib.Path) -> None:
    rewrite_zip(path, zipfile.ZIP_BZIP2, model__weights__h5=bytes(50 * 2**20))


@example(".keras", "must end in a directory")
def zip_directory_of_many_members(path: pathlib.Path) -> None:
    rewrite_zip(path, empty=b"")
    content = path.read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    directory = content[start:end] * 500_000
    tail = bytearray(content[end:])
    tail[12:16] = len(directory).to_bytes(4, "little")
    path.write_bytes(content[:start] + directory + tail)


@example(".keras", "must end in a directory")
def zip_with_a_comment(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"x" * 1000


@example(".keras", "at most 64 MB")
def keras_file_that_is_too_large(path: pathlib.Path) -> None:
    with open(path, "r+b") as stream:
        stream.truncate(2**33)


# -- HDF5 ----------------------------------------------------------------------------------------------------


@example(".weights.h5", "at most 64 MB")
def hdf5_file_that_is_too_large(path: pathlib.Path) -> None:
    with open(path, "r+b") as stream:
        stream.truncate(2**33)


@example(".weights.h5", "must be stored in full")
def dataset_of_a_huge_shape(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        del file[name]
        file.create_dataset(name, (2**20, 2**20), np.float32)


@example(".weights.h5", "uncompressed")
def compressed_dataset(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        del file[name]
        file.create_dataset(name, (2**16, 2**16), np.float32, chunks=(2**10, 2**10), compression="gzip")


@example(".keras", "uncompressed")
def compressed_dataset_in_a_zip(path: pathlib.Path) -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("vars/config", (2**31,), np.uint8, chunks=(2**20,), compression="gzip")
    rewrite_zip(path, model__weights__h5=stream.getvalue())


@example(".weights.h5", "larger than the file")
def one_dataset_under_many_names(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        dataset = file.create_dataset("layers/large", data=np.zeros(2**20, np.float32))
        for number in range(100):
            file[f"layers/again_{number}"] = dataset


@example(".weights.h5", "16 deep")
def group_inside_itself(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        file["empty/again"] = file.create_group("empty")


@example(".weights.h5", "not be a link")
def soft_link(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        replace(file, first_kernel(file), h5py.SoftLink("/vars/config"))


@example(".weights.h5", "not be a link")
def link_to_another_file(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        replace(file, "layers", h5py.ExternalLink("/etc/passwd", "/"))


@example(".weights.h5", "in the file itself")
def data_of_another_file(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, np.float32, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


@example(".weights.h5", "in the file itself")
def virtual_dataset(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        layout = h5py.VirtualLayout(file[name].shape, np.float32)
        layout[:] = h5py.VirtualSource("/tmp/none.h5", "x", file[name].shape)
        del file[name]
        file.create_virtual_dataset(name, layout)


@example(".weights.h5", "must hold numbers")
def strings_for_numbers(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        replace(file, first_kernel(file), ["a", "b"])


@example(".weights.h5", "no attributes")
def large_attributes(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        file[first_kernel(file)].attrs["dtype"] = "x" * 10**4


@example(".weights.h5", "must be those that the configuration implies")
def weights_of_another_dtype(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        replace(file, name, file[name][()].astype(np.float64))
    edit_config(path, lambda config: None)


@example(".weights.h5", "must be those that the configuration implies")
def weights_of_another_shape(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        name = first_kernel(file)
        replace(file, name, file[name][()].T)
    edit_config(path, lambda config: None)


@example(".weights.h5", "checksum does not match")
def changed_weights(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        dataset = file[first_kernel(file)]
        dataset[0, 0] += 1e-3


@example(".weights.h5", "checksum does not match")
def exchanged_weights(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        file.move("layers/channel_mixing_rule/vars/2", "vars/x")
        file.move("layers/channel_mixing_rule_1/vars/2", "layers/channel_mixing_rule/vars/2")
        file.move("vars/x", "layers/channel_mixing_rule_1/vars/2")


@example(".weights.h5", "checksum does not match")
def changed_config(path: pathlib.Path) -> None:
    with h5py.File(path, "r+") as file:
        text = file["vars/config"][()].tobytes().replace(b'"blur": null', b'"blur": 0.04')
        file["vars/config"][...] = np.frombuffer(text, np.uint8)


# -- configurations ------------------------------------------------------------------------------------------


def json_text(name: str, error: str, text: bytes) -> None:
    def write(path: pathlib.Path) -> None:
        with h5py.File(path, "r+") as file:
            replace(file, "vars/config", np.frombuffer(text, np.uint8))

    write.__name__ = name
    example(".weights.h5", error)(write)


def config(name: str, error: str, change: Callable[[dict[str, Any]], Any]) -> None:
    def write(path: pathlib.Path) -> None:
        edit_config(path, change)

    write.__name__ = name
    example(".weights.h5", error)(write)


json_text("nested_json", "RecursionError", b"[" * 10**6)
json_text("huge_json", "at most 2097152 bytes", b" " * (2**21 + 1))
json_text("json_of_a_list", "not a whole file", b"[]")
json_text("json_of_a_huge_number", "not a whole file", b"1" * 10**6)


def rule_setting(name: str, error: str, /, **settings: Any) -> None:
    config(name, error, lambda config: config["rules"][0]["config"].update(settings))


def readout_setting(name: str, error: str, /, **settings: Any) -> None:
    config(name, error, lambda config: config["readout"]["config"].update(settings))


def setting(name: str, error: str, /, **settings: Any) -> None:
    config(name, error, lambda config: config.update(settings))


def entry(name: str, error: str, /, **entries: Any) -> None:
    """Changes the entry of the first rule, beside its configuration."""
    config(name, error, lambda config: config["rules"][0].update(entries))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


rule_setting("nested_setting", "at most 16 levels deep", name=nested(500))
rule_setting("huge_hidden", "`hidden` must be an int in 1..1024", hidden=10**9)
rule_setting("another_hidden", "must be those that the configuration implies", hidden=1000)
rule_setting("long_setting", "can't be read", hidden="8" * 10**5)
for value in (1e9, -1, 2, float("nan"), float("inf"), True, "0.1", int("9" * 400)):
    readout_setting(f"blur_{value!s:.5}", "`blur` must be a number in [0, 1]", blur=value)
readout_setting("focus", "`focus` must be a number in [0, 1000]", focus=1e9)
readout_setting("max_size_huge", "`max_size` must be None or an int", max_size=10**12)
readout_setting("max_size_small", "`max_size` must be None or an int", max_size=1)

for name, value in {
    "unsorted": [1, 0],
    "repeated": [0, 0],
    "negative": [-1, 0],
    "number_before_the_input": [0, "input"],
    "both": ["input", "feature_map"],
    "bool": [True],
    "text": ["0"],
    "huge": [10**9],
    "number": 1,
}.items():
    setting(f"read_{name}", "`read` must be a list of positions", read=value)
setting("read_beyond_the_model", "positions below 2", read=["input", 0, 77])
setting("read_beyond_the_weights", "that the configuration implies", read=["input", 0])

for name, value in {
    "huge": [None, 2**40, 2**40, 6],
    "negative": [None, -1, 16, 6],
    "empty": [],
    "rank": [2] * 40,
    "float": [None, 16.0, 16, 6],
    "text": "abc",
}.items():
    entry(f"shape_{name}", "`shape` must be", shape=value)
entry("channels", "must be those that the configuration implies", shape=[None, 16, 16, 2**24])
config("many_rules", "at most 2048", lambda config: config.update(rules=config["rules"] * 1500))
config("repeated_rules", "different for each", lambda config: config["rules"].append(config["rules"][0]))
setting("rules_dict", "`rules` must be a list", rules={"a": 1})
setting("rules_rows", "`rules` must be made of", rules=[1, 2])
entry("path", "`path` must be", path=["a"])
entry("long_path", "`path` must be", path="a" * 10**5)
config("rule_of_another_layer", "no activation", lambda c: c["rules"][0].update(path=c["structure"][1][0]))
setting("name", "`name` must be", name=3)
setting("readout", "`readout` must be made of", readout=None)
setting("structure", "`structure` must be", structure=[["a", 1]])
setting("structure_rows", "`structure` must be", structure={"a": "b"})
setting("checksum", "checksum does not match", checksum="1" * 64)
setting("checksum_number", "checksum does not match", checksum=[1])
setting("unknown_key", "known keys alone", surprise=1)


def main(folder: pathlib.Path) -> None:
    import tf_learnprop as tlp
    from tests import toys

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def load(path: pathlib.Path) -> list[str]:
        try:
            tlp.load_rules(path, model)
        except Exception as error:
            return [type(error).__name__, str(error)]
        return ["none", ""]

    model = toys.small_cnn()
    results = {}
    for path in [*sorted(folder.glob("good*")), *sorted(folder.glob("bad*"))]:
        before = peak()
        outcome = load(path)
        results[path.name] = [*outcome, peak() - before]
        if path.name.startswith("good"):  # all that a first load allocates is there now
            used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, resource.RLIM_INFINITY))
    print(json.dumps(results))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

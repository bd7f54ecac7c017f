"""When a kept result is used again, and when it is computed anew."""

import json

import numpy as np
import pytest

from benchmarks.evaluation import results

SOURCE = "def score(x):\n    return 2 * x\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "rules.py").write_text(SOURCE)
    (tmp_path / "package" / "weights.bin").write_bytes(b"1")
    return tmp_path


class Counter:
    """A computation that counts how often it runs."""

    def __init__(self):
        self.runs = 0

    def __call__(self):
        self.runs += 1
        return {"scores": np.array([0.5, 1.5]), "run": self.runs}


@pytest.fixture
def compute():
    return Counter()


def ask(root, compute, code=("package",), **settings):
    """The result of a store that is read anew, as in another run."""
    store = results.ResultStore(root / "results" / "rows.jsonl", root)
    return store.get_or_compute({"row": "a", "steps": 10, **settings}, code, compute)


class TestReuse:
    def test_the_same_settings_and_code(self, root, compute):
        first = ask(root, compute)
        assert first == {"scores": [0.5, 1.5], "run": 1}
        assert ask(root, compute) == first
        assert compute.runs == 1

    @pytest.mark.parametrize("changed", [{"steps": 11}, {"row": "b"}, {"seed": 1}])
    def test_not_of_other_settings(self, root, compute, changed):
        ask(root, compute)
        assert ask(root, compute, **changed)["run"] == 2
        assert ask(root, compute)["run"] == 1  # the first is still there

    def test_not_of_other_code(self, root, compute):
        ask(root, compute)
        (root / "package" / "rules.py").write_text(SOURCE.replace("2", "3"))
        assert ask(root, compute)["run"] == 2
        (root / "package" / "rules.py").write_text(SOURCE)
        assert ask(root, compute)["run"] == 1

    def test_not_of_other_versions(self, root, compute, monkeypatch):
        ask(root, compute)
        monkeypatch.setattr(results.importlib.metadata, "version", lambda name: "0.0")
        assert ask(root, compute)["run"] == 2

    def test_rows_do_not_depend_on_their_order(self, root, compute):
        for row in ("a", "b", "c"):
            ask(root, compute, row=row)
        assert [ask(root, compute, row=row)["run"] for row in ("c", "new", "a")] == [3, 4, 1]


class TestInterrupted:
    def test_goes_on_after_the_last_result(self, root, compute):
        def stop():
            raise KeyboardInterrupt

        ask(root, compute)
        with pytest.raises(KeyboardInterrupt):
            ask(root, stop, row="b")
        assert ask(root, compute)["run"] == 1
        assert ask(root, compute, row="b")["run"] == 2

    def test_a_torn_last_line_is_ignored(self, root, compute):
        ask(root, compute)
        ask(root, compute, row="b")
        path = root / "results" / "rows.jsonl"
        path.write_text(path.read_text()[:-20])
        assert ask(root, compute)["run"] == 1
        assert ask(root, compute, row="b")["run"] == 3
        # What was appended after it can be read.
        assert ask(root, compute, row="b")["run"] == 3
        assert json.loads(path.read_text().splitlines()[-1])["settings"]["row"] == "b"


class TestDigest:
    def test_comments_docstrings_and_layout_do_not_count(self, root):
        before = results.code_digest(["package"], root)
        text = '"""A module."""\n\ndef score(x):  # twice\n    """A score."""\n    return (2\n        * x)\n'
        (root / "package" / "rules.py").write_text(text)
        assert results.code_digest(["package"], root) == before

    @pytest.mark.parametrize("name", ["rules.py", "weights.bin", "new.py"])
    def test_every_file_of_a_folder_counts(self, root, name):
        before = results.code_digest(["package"], root)
        (root / "package" / name).write_text("x = 2")
        assert results.code_digest(["package"], root) != before

    def test_caches_do_not_count(self, root):
        before = results.code_digest(["package"], root)
        (root / "package" / "__pycache__").mkdir()
        (root / "package" / "__pycache__" / "rules.pyc").write_bytes(b"2")
        assert results.code_digest(["package"], root) == before

    def test_functions_count_by_their_source(self, root):
        def one():
            return 1

        def other():
            """Says more than `one`."""
            return 2  # and gives more

        first, second = results.code_digest([one], root), results.code_digest([other], root)
        assert first == results.code_digest([one], root) != second

    def test_a_path_that_does_not_exist(self, root):
        with pytest.raises(FileNotFoundError, match="must name files and folders that exist"):
            results.code_digest(["package", "missing.py"], root)

    def test_the_code_that_the_benchmarks_name_exists(self):
        everything = (*results.RULES, *results.MEASURES, *results.PEERS)
        assert len(results.code_digest(everything)) == 64

    def test_arrays_count_by_value_shape_and_dtype(self):
        array = np.arange(6, dtype=np.float32)
        others = [array + 1, array.reshape(2, 3), array.astype(np.float64)]
        found = [results.arrays_digest([one]) for one in (array, array.copy(), *others)]
        assert found[0] == found[1]
        assert len(set(found)) == 4
        assert results.arrays_digest([array[:3], array[3:]]) != found[0]


def test_files_are_named_by_what_they_depend_on(tmp_path):
    def path(**settings):
        return results.kept_file(tmp_path / "cache", "rules", ".keras", settings, [])

    assert path(steps=1) == path(steps=1) != path(steps=2)
    assert path(steps=1).parent.is_dir()
    assert path(steps=1).name.startswith("rules-") and path(steps=1).suffix == ".keras"


def test_settings_that_are_no_json_values_are_refused(root, compute):
    with pytest.raises(TypeError, match="must be JSON values"):
        ask(root, compute, rule=object())

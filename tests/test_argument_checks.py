"""`argument_checks`: what each check accepts, and what its error says and knows."""

import fractions
import pickle

import numpy as np
import pytest

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError, FileError
from tf_learnprop.cli.errors import UsageError, naming_options


class TestInteger:
    @pytest.mark.parametrize("value", [1, 7, np.int64(3)])
    def test_accepts(self, value):
        argument_checks.integer("steps", value, 1)
        argument_checks.integer("steps", value, 1, 7)

    @pytest.mark.parametrize("value", [0, -1, 1.0, True, np.True_, "2", None])
    def test_refuses(self, value):
        with pytest.raises(ArgumentError, match=r"^`steps` must be an int >= 1\. Received: steps="):
            argument_checks.integer("steps", value, 1)

    def test_too_large(self):
        with pytest.raises(ArgumentError, match=r"^`target` must be an int in 0\.\.3\. Received: target=4$"):
            argument_checks.integer("target", 4, 0, 3)

    def test_another_text(self):
        with pytest.raises(ArgumentError, match=r"^`size` must be at least 1\. Received: size=0$"):
            argument_checks.integer("size", 0, 1, rule="be at least 1")


class TestNumber:
    @pytest.mark.parametrize("value", [1, 1e-9, np.float32(2), fractions.Fraction(1, 3)])
    def test_accepts(self, value):
        argument_checks.number("rate", value, above=0)

    @pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, True, "2", None, 1j])
    def test_refuses(self, value):
        with pytest.raises(ArgumentError, match=r"^`rate` must be a number > 0\. Received: rate="):
            argument_checks.number("rate", value, above=0)

    @pytest.mark.parametrize(
        ("limits", "good", "bad", "rule"),
        [
            ({"above": 0, "high": 1}, [0.5, 1], [0, 1.1], r"in \(0, 1\]"),
            ({"low": 0, "high": 1}, [0, 1], [-0.1, 1.1], r"in \[0, 1\]"),
            ({"low": 2}, [2, 9e9], [1.9], ">= 2"),
            ({"above": 0, "below": 1}, [0.5], [0, 1], r"in \(0, 1\)"),
            ({"low": 0, "below": 1}, [0, 0.5], [-0.1, 1], r"in \[0, 1\)"),
        ],
    )
    def test_limits(self, limits, good, bad, rule):
        for value in good:
            argument_checks.number("level", value, **limits)
        for value in bad:
            with pytest.raises(ArgumentError, match=f"^`level` must be a number {rule}. Received: level="):
                argument_checks.number("level", value, **limits)


def test_one_of():
    argument_checks.one_of("mode", "b", {"b": 1, "a": 2})
    for value in ("c", 1, None, ["a"]):
        with pytest.raises(ArgumentError, match=r"^`mode` must be one of \['a', 'b'\]\. Received: mode="):
            argument_checks.one_of("mode", value, {"b": 1, "a": 2})


def test_flag():
    argument_checks.flag("signed", False)
    for value in (0, 1, "yes", None, np.True_):
        with pytest.raises(ArgumentError, match=r"^`signed` must be a bool\. Received: signed="):
            argument_checks.flag("signed", value)


class TestError:
    ERROR = ArgumentError("batch_size", "be at least 1", 0)

    def test_what_it_knows(self):
        error = self.ERROR
        assert (error.argument, error.rule, error.received) == ("batch_size", "be at least 1", 0)
        assert isinstance(error, ValueError)
        assert str(error) == "`batch_size` must be at least 1. Received: batch_size=0"
        assert error.about("--batch-size") == "--batch-size must be at least 1. Received: 0"

    def test_of_a_long_value_it_shows_the_ends(self):
        text = str(ArgumentError("names", "be a list", "a" * 10_000))
        assert len(text) < 400 and text.startswith("`names` must be a list. Received: names='aaa")

    def test_details_and_a_place(self):
        error = ArgumentError("names", "hold 4 names", ["a"], "1 name").at("a.parquet")
        assert str(error) == "a.parquet: `names` must hold 4 names. Received: 1 name"
        assert error.about("--names") == "a.parquet: --names must hold 4 names. Received: 1 name"

    def test_a_file(self):
        error = FileError("name", "be a file that can be loaded", "a.keras", "can't be loaded (no HDF5 file)")
        assert str(error) == "`name`: a.keras can't be loaded (no HDF5 file)"
        assert error.about("--model") == "--model: a.keras can't be loaded (no HDF5 file)"

    @pytest.mark.parametrize("error", [ERROR, FileError("name", "be a file", "a", "is none").at("b")])
    def test_can_be_pickled(self, error):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_the_command_names_options():
    def fails(error, *others):
        with pytest.raises(UsageError) as raised, naming_options({"text": "--class"}, *others):
            raise error
        return str(raised.value)

    assert fails(TestError.ERROR) == "--batch-size must be at least 1. Received: 0"
    assert fails(ArgumentError("text", "be an id", "x", "x")) == "--class must be an id. Received: x"
    assert fails(ValueError("`export` is not an option")) == "`export` is not an option"
    assert fails(ImportError("no Ray"), ImportError) == "no Ray"
    with pytest.raises(OSError, match="full"), naming_options({}):
        raise OSError("full")

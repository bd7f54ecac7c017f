import csv

import numpy as np
import pytest

from tf_learnprop import zoo


class TestClassNames:
    def test_known_positions(self):
        names = zoo.class_names()
        assert len(names) == 1000 == len(set(names))
        assert names[0] == "tench"
        assert (names[134], names[517]) == ("crane bird", "crane")
        assert names[281:286] == [
            "tabby",
            "tiger cat",
            "Persian cat",
            "Siamese cat",
            "Egyptian cat",
        ]
        assert names[999] == "toilet tissue"

    def test_is_a_fresh_list(self):
        zoo.class_names().clear()
        assert len(zoo.class_names()) == 1000

    def test_agrees_with_the_sample(self, data_dir):
        def letters(name):
            return "".join(c for c in name.lower() if c.isalpha())

        with open(data_dir / "imagenet_sample" / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        names = zoo.class_names()
        different = {
            int(row["class_index"])
            for row in rows
            if letters(names[int(row["class_index"])]) != letters(row["label"])
        }
        assert different <= {134, 639}  # the names that were told apart from their doubles


class TestDecode:
    def test_values(self):
        scores = np.full((2, 1000), -1.0)
        scores[0, 968], scores[0, 967], scores[1, 0] = 3.0, 2.5, 7.0
        assert zoo.decode(scores, top=2) == [
            [(968, "cup", 3.0), (967, "espresso", 2.5)],
            [(0, "tench", 7.0), (1, "goldfish", -1.0)],
        ]
        assert zoo.decode(scores[0], top=1) == [(968, "cup", 3.0)]
        assert [len(row) for row in zoo.decode(scores)] == [5, 5]

    def test_shape(self):
        with pytest.raises(ValueError, match=r"\[n, 1000\].*shape=\(2, 10\)"):
            zoo.decode(np.zeros((2, 10)))

    @pytest.mark.parametrize("top", [0, 1001])
    def test_top(self, top):
        with pytest.raises(ValueError, match=f"top={top}"):
            zoo.decode(np.zeros(1000), top)

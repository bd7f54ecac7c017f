"""What the page finds in a photo, and what a click asks for."""

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests.app.conftest import GREEN, RED, SIDE
from tf_learnprop.app import places, view


@pytest.fixture(scope="module")
def photo(patches_file):
    return view.read_photo(patches_file, (SIDE, SIDE, 3))


def mask_of(box):
    left, top, right, bottom = box
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top:bottom, left:right] = True
    return mask


class TestSegmenter:
    def test_the_class_at_a_place(self, segmenter, photo):
        pixels, _ = photo
        part = segmenter.parts(pixels).at(5, 3, segmenter.choices[0])
        np.testing.assert_array_equal(part.mask, mask_of(RED))
        assert part.name == f"red: {16 / SIDE**2:.1%} of the photo"
        found = segmenter.explain(pixels, part.target, "learned rules")
        assert found[mask_of(RED)].sum() > 0.8 * np.maximum(found, 0).sum()
        target = tlp.targets.Region(mask_of(RED)[::2, ::2], 1)
        wrapped = tlp.wrap_model(segmenter._wrapped.source, "gradient", readout="multi_layer")
        np.testing.assert_allclose(found, wrapped.explain(pixels[None] / 255.0, target)[0], rtol=1e-5)

    def test_the_place_alone(self, segmenter, photo):
        part = segmenter.parts(photo[0]).at(9, 8, segmenter.choices[1])
        assert part.name.startswith("green in row 4, column 4: ")
        assert (part.target.row, part.target.column, part.target.class_id) == (4, 4, 2)
        np.testing.assert_array_equal(part.mask, mask_of((8, 8, 10, 10)))

    def test_is_drawn_in_the_colours_of_the_classes(self, segmenter, photo):
        pixels, backdrop = photo
        drawn = segmenter.parts(pixels).drawn(backdrop)
        expected = np.round(backdrop[:1, :1, 0] / 2 + np.array(places.colour(0)) / 2)
        np.testing.assert_array_equal(drawn[0, 0], expected[0])
        zoom = len(backdrop) // SIDE
        expected = np.round(backdrop[5 * zoom, 3 * zoom] / 2 + np.array(places.colour(1)) / 2)
        np.testing.assert_array_equal(drawn[5 * zoom, 3 * zoom], expected)


class TestDetector:
    def test_the_box_at_a_place(self, detector, photo):
        pixels, _ = photo
        parts = detector.parts(pixels)
        for box, name, class_id in ((RED, "red", 0), (GREEN, "green", 1)):
            part = parts.at(box[1] + 1, box[0] + 1, detector.choices[0])
            assert part.name.startswith(f"{name}: ") and part.target.class_id == class_id
            np.testing.assert_allclose(parts._boxes[part.target.number], box, atol=1e-3)
            np.testing.assert_array_equal(part.mask, mask_of(box))
            found = detector.explain(pixels, part.target, "learned rules")
            assert found[part.mask].sum() > 0.8 * np.maximum(found, 0).sum()
        assert parts.at(0, 0, detector.choices[0]) is None

    def test_boxes_are_drawn(self, detector, photo):
        pixels, backdrop = photo
        drawn = detector.parts(pixels).drawn(backdrop)
        zoom = len(backdrop) // SIDE
        for (left, top, _, _), class_id in ((RED, 0), (GREEN, 1)):
            assert tuple(drawn[top * zoom, left * zoom + 6]) == places.colour(class_id)
            assert len(set(drawn[top * zoom + 6, left * zoom + 6])) == 1  # grey

    def test_an_output_without_boxes(self):
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.Reshape((-1, 3))(keras.layers.Conv2D(3, 4, 4, activation="relu")(image))
        model = keras.Model(image, x)
        spec = tlp.zoo.ModelSpec("toy", model, None, None)
        with pytest.raises(ValueError, match="`classes` must be a column"):
            places.backend_for(spec, tlp.wrap_model(model, "gradient"), (SIDE, SIDE, 3))


def test_a_smaller_box_in_a_larger_one(detector, photo):
    boxes = places._Boxes(
        (SIDE, SIDE), np.array([[0, 0, 20, 20], [5, 5, 9, 9.0]]), np.ones(2), np.zeros(2), detector
    )
    assert boxes.at(6, 6, "").target.number == 1
    assert boxes.at(12, 6, "").target.number == 0


def test_an_edge():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 3:8] = True
    drawn = places.outlined(np.zeros((8, 8, 3), np.uint8), mask, (9, 9, 9))[..., 0] > 0
    inner = np.zeros((8, 8), bool)
    inner[3:5, 4:7] = True
    np.testing.assert_array_equal(drawn, mask & ~inner)

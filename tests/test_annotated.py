"""Photos with boxes and masks: what is read, by value, and how bad files are named."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import toys
from tf_learnprop import data, metrics
from tf_learnprop.inputs import annotations

HEIGHT, WIDTH = 20, 30


@pytest.fixture
def photos(tmp_path):
    """A folder with two photos."""
    folder = tmp_path / "photos" / "cats"
    folder.mkdir(parents=True)
    for number in range(2):
        pixels = toys.rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder


def voc(folder, photo, *things):
    """A file of Pascal VOC with objects (name, xmin, ymin, xmax, ymax)."""
    folder.mkdir(exist_ok=True)
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in things
    )
    text = f"<annotation><filename>{photo}</filename>{objects}</annotation>"
    (folder / f"{photo}.xml").write_text(text)


def coco(path, *rows, photo="0.jpg"):
    """A file of COCO with annotations."""
    rows = [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 2, 2], **row} for row in rows]
    images = [{"id": 7, "file_name": photo}]
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 3, "name": "cat"}], "annotations": rows})
    )
    return path


class TestVoc:
    def test_boxes_hold_their_last_pixels(self, photos, tmp_path):
        voc(tmp_path / "xml", "0.jpg", ("cat", 1, 1, 4, 2), ("dog", 5, 6, 30, 20), ("cat", 11, 3, 11, 3))
        found = data.from_voc(tmp_path / "xml", photos, size=(HEIGHT, WIDTH))
        assert found.names == ["cat", "dog"] and found.masks is None and not found.left_out
        assert found.paths == [photos / "0.jpg"] * 2
        np.testing.assert_array_equal(found.boxes[0], [[0, 0, 4, 2], [10, 2, 11, 3]])
        np.testing.assert_array_equal(found.boxes[1], [[4, 5, 30, 20]])
        expected = data.read_image(photos / "0.jpg", HEIGHT, WIDTH)
        np.testing.assert_array_equal(found.images, [expected, expected])
        masks = metrics.box_masks(found.boxes, (HEIGHT, WIDTH))
        assert masks[0].sum() == 4 * 2 + 1 and masks[1].sum() == 26 * 15

    def test_boxes_are_cut_and_resized_with_their_photo(self, photos, tmp_path):
        """Of 30 x 20 pixels, the 20 from the fifth column on are kept, at half the size."""
        voc(tmp_path / "xml", "0.jpg", ("cat", 3, 1, 15, 10), ("dog", 1, 1, 5, 5), ("dog", 26, 1, 30, 9))
        found = data.from_voc(tmp_path / "xml", photos, size=10)
        assert found.names == ["cat"] and found.left_out == ["0.jpg, dog"]
        np.testing.assert_allclose(found.boxes[0], [[0, 0, 5.5, 5]])
        whole = data.from_voc(tmp_path / "xml", photos, size=10, crop=False)
        np.testing.assert_allclose(whole.boxes[0], [[2 / 3, 0, 5, 5]])
        assert whole.names == ["cat", "dog"]

    def test_some_classes_and_photos(self, photos, tmp_path):
        for name in ("0.jpg", "1.jpg"):
            voc(tmp_path / "xml", name, ("cat", 1, 1, 4, 2), ("dog", 1, 1, 4, 2))
        found = data.from_voc(tmp_path / "xml", photos, size=20, classes=["dog"], crop=False)
        assert found.names == ["dog", "dog"]
        found = data.from_voc(tmp_path / "xml", photos, size=20, classes=["dog"], crop=False, limit=1)
        assert found.paths == [photos / "0.jpg"]


class TestCoco:
    def test_polygons_by_a_slow_loop(self, photos, tmp_path):
        triangle = [2.1, 3.0, 12.5, 4.0, 6.0, 15.0]
        square = [20, 10, 24, 10, 24, 13, 20, 13]
        rows = [{"segmentation": [triangle]}, {"segmentation": [square], "bbox": [20, 10, 4, 3]}]
        found = data.from_coco(coco(tmp_path / "a.json", *rows), photos, size=(HEIGHT, WIDTH))
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[10:13, 20:24] = True
        corners = np.reshape(triangle, (3, 2))
        for y, x in np.ndindex(HEIGHT, WIDTH):
            sides = [
                np.cross([*(b - a), 0], [x + 0.5 - a[0], y + 0.5 - a[1], 0])[2] for a, b in pairs(corners)
            ]
            expected[y, x] |= min(sides) > 0 or max(sides) < 0
        np.testing.assert_array_equal(found.masks, [expected])
        np.testing.assert_array_equal(found.boxes[0], [[0, 0, 2, 2], [20, 10, 24, 13]])

    @pytest.mark.parametrize("compressed", [False, True])
    def test_runs(self, photos, tmp_path, compressed):
        mask = toys.rng(5).random((HEIGHT, WIDTH)) < 0.3
        mask[:, 9:14], mask[0, 0] = True, True
        runs = lengths(mask)
        shape = {"size": [HEIGHT, WIDTH], "counts": letters(runs) if compressed else runs}
        path = coco(tmp_path / "a.json", {"segmentation": shape})
        np.testing.assert_array_equal(data.from_coco(path, photos, size=(HEIGHT, WIDTH)).masks, [mask])

    def test_without_masks(self, photos, tmp_path):
        found = data.from_coco(coco(tmp_path / "a.json", {}), photos, size=(HEIGHT, WIDTH))
        assert found.masks is None and len(found.boxes) == 1

    def test_an_object_without_a_mask(self, photos, tmp_path):
        """A mask of the other one would call it background."""
        rows = {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}, {"bbox": [10, 10, 5, 5]}
        found = data.from_coco(coco(tmp_path / "a.json", *rows), photos, size=(HEIGHT, WIDTH))
        assert found.masks is None and len(found.boxes[0]) == 2

    def test_a_byte_order_mark(self, photos, tmp_path):
        source = coco(tmp_path / "a.json", {})
        source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
        assert data.from_coco(source, photos, size=(HEIGHT, WIDTH)).names == ["cat"]

    def test_a_known_string(self):
        """40 takes the letters of 8 and 1; 4 and 33 are written as 4 − 1 and 33 − 40."""
        assert annotations._decompressed("61X13I") == [6, 1, 40, 4, 33]


def pairs(corners):
    return zip(corners, np.roll(corners, -1, 0), strict=True)


def lengths(mask):
    """Runs of zeros and ones in turn, column by column, in a slow loop."""
    runs, current = [0], False
    for value in mask.T.ravel():
        if value != current:
            runs.append(0)
            current = value
        runs[-1] += 1
    return runs


def letters(runs):
    """COCO's string of runs, in a slow loop."""
    text = ""
    for k, run in enumerate(runs):
        value = run - (runs[k - 2] if k > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = not (value == 0 and not bits & 16 or value == -1 and bits & 16)
            text += chr(48 + bits + 32 * more)
    return text


class TestMasks:
    def save(self, mask, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)

    def test_of_a_folder_of_their_own(self, photos, tmp_path):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[5:9, 10:20], mask[0, 0] = 2, 1
        for number in range(2):
            self.save(mask, tmp_path / "masks" / "cats" / f"{number}.png")
        found = data.from_masks(photos.parent, tmp_path / "masks", size=(HEIGHT, WIDTH))
        np.testing.assert_array_equal(found.masks, [mask > 0] * 2)
        assert found.names == ["cats", "cats"] and found.boxes is None
        assert found.paths == [photos / "0.jpg", photos / "1.jpg"]
        two = data.from_masks(photos.parent, tmp_path / "masks", value=2, size=(HEIGHT, WIDTH), limit=1)
        np.testing.assert_array_equal(two.masks, [mask == 2])

    def test_beside_the_photos_in_colour_and_cropped(self, photos):
        mask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        mask[..., 3] = 255
        mask[:10, 6:14, 1] = 200
        for number in range(2):
            self.save(mask, photos / f"{number}.png")
        found = data.from_masks(photos, size=10, preprocess=lambda x: x / 16)
        expected = np.zeros((10, 10), bool)
        expected[:5, 1:5] = True
        np.testing.assert_array_equal(found.masks, [expected] * 2)
        np.testing.assert_allclose(found.images[0] * 16, data.read_image(photos / "0.jpg", 10, 10))

    def test_of_a_palette_are_its_numbers(self, photos):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3:] = 9
        picture = Image.fromarray(mask, "P")
        picture.putpalette([0, 0, 0] * 256)
        for number in range(2):
            picture.save(photos / f"{number}.png")
        found = data.from_masks(photos, value=9, size=(HEIGHT, WIDTH))
        np.testing.assert_array_equal(found.masks[0], mask == 9)

    def test_of_grey_with_opacity(self, photos):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3:9, 4:20] = 255
        opaque = Image.merge("LA", [Image.fromarray(mask), Image.fromarray(np.full_like(mask, 255))])
        for number in range(2):
            opaque.save(photos / f"{number}.png")
        found = data.from_masks(photos, size=(HEIGHT, WIDTH))
        np.testing.assert_array_equal(found.masks, [mask > 0] * 2)


class TestBadFiles:
    @pytest.mark.parametrize(
        ("box", "message"),
        [
            (
                (1, 1, 40, 5),
                r"0.jpg.xml: `boxes` must lie on its photo of 30 x 20 pixels.*\(0, 0, 40, 5\) of 0",
            ),
            ((9, 1, 5, 5), r"0.jpg.xml: .*left < right and top < bottom. Received: \(8, 0, 5, 5\)"),
            (
                ("left", 1, 5, 5),
                r"0.jpg.xml: `source` must be an XML file of Pascal VOC. Received: ValueError",
            ),
        ],
    )
    def test_boxes(self, photos, tmp_path, box, message):
        voc(tmp_path / "xml", "0.jpg", ("cat", *box))
        with pytest.raises(ValueError, match=message):
            data.from_voc(tmp_path / "xml", photos, size=8)

    def test_files_of_another_kind(self, photos, tmp_path):
        (tmp_path / "x.xml").write_text("<annotation>")
        with pytest.raises(ValueError, match="x.xml: `source` must be an XML file of Pascal VOC.*ParseError"):
            data.from_voc(tmp_path, photos, size=8)
        with pytest.raises(ValueError, match="`source` must be a folder with XML files"):
            data.from_voc(photos, photos, size=8)
        (tmp_path / "x.json").write_text("[]")
        with pytest.raises(ValueError, match="x.json: `source` must be a JSON file of COCO.*TypeError"):
            data.from_coco(tmp_path / "x.json", photos, size=8)
        with pytest.raises(ValueError, match="`photos` must be a folder with JPEG files"):
            data.from_masks(tmp_path / "xml", size=8)

    def test_a_missing_photo(self, photos, tmp_path):
        with pytest.raises(OSError, match="gone.jpg"):
            data.from_coco(coco(tmp_path / "a.json", {}, photo="gone.jpg"), photos, size=8)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (
                (HEIGHT, WIDTH + 1),
                "have the size of its photo, 30 x 20 pixels. Received: 31 x 20 for .*0.jpg",
            ),
            ((HEIGHT, WIDTH), "have at least one pixel set. Received: none for .*0.jpg"),
        ],
    )
    def test_masks(self, photos, shape, message):
        Image.fromarray(np.zeros(shape, np.uint8)).save(photos / "0.png")
        with pytest.raises(ValueError, match=f"0.png: `masks` must {message}"):
            data.from_masks(photos, size=8)

    def test_no_mask(self, photos):
        with pytest.raises(ValueError, match="0.png: `masks` must hold a mask for each photo"):
            data.from_masks(photos, size=8)
        (photos / "0.png").write_text("no picture")
        with pytest.raises(
            ValueError, match="0.png: `source` must be an image. Received: UnidentifiedImageError"
        ):
            data.from_masks(photos, size=8)

    @pytest.mark.parametrize(
        "shape",
        [
            [[1, 2, 11, 2, 11]],
            [[1, 2, "right", 2, 11, 12]],
            [1, 2, 11, 2, 11, 12],
            [[float("nan"), 2, 11, 2, 11, 12]],
            {"counts": [5, 20]},
            {"size": "20", "counts": [5, 20]},
            {"size": [HEIGHT, WIDTH], "counts": [10, -10, HEIGHT * WIDTH]},
            {"size": [HEIGHT, WIDTH], "counts": [10**13]},
        ],
    )
    def test_damaged_shapes(self, photos, tmp_path, shape):
        source = coco(tmp_path / "a.json", {"segmentation": shape})
        with pytest.raises(
            ValueError, match="a.json: `masks` must be polygons or runs. Received: .*for 0.jpg"
        ):
            data.from_coco(source, photos, size=8)

    def test_a_file_that_names_no_photo(self, photos, tmp_path):
        voc(tmp_path / "xml", "", ("cat", 1, 1, 3, 3))
        with pytest.raises(ValueError, match=".xml: `source` must be .* Pascal VOC.*it names no photo"):
            data.from_voc(tmp_path / "xml", photos, size=8)

    def test_one_name_is_no_list(self, photos, tmp_path):
        source = coco(tmp_path / "a.json", {})
        with pytest.raises(ValueError, match="`classes` must be a list of names. Received: classes='cats'"):
            data.from_coco(source, photos, size=8, classes="cats")

    def test_runs_of_another_size(self, photos, tmp_path):
        shape = {"size": [5, 5], "counts": [5, 20]}
        with pytest.raises(
            ValueError, match="a.json: `masks` must have the size .* Received: 5 x 5 for 0.jpg"
        ):
            data.from_coco(coco(tmp_path / "a.json", {"segmentation": shape}), photos, size=8)

    def test_runs_that_do_not_fill_their_size(self, photos, tmp_path):
        shape = {"size": [HEIGHT, WIDTH], "counts": [5, 20]}
        with pytest.raises(ValueError, match="a.json: `masks` must .*runs of 25 pixels in a mask of 30 x 20"):
            data.from_coco(coco(tmp_path / "a.json", {"segmentation": shape}), photos, size=8)

    def test_nothing_is_left(self, photos, tmp_path):
        voc(tmp_path / "xml", "0.jpg", ("cat", 1, 1, 3, 3))
        with pytest.raises(
            ValueError, match="hold an object that the images show. Received: none, and 1 that"
        ):
            data.from_voc(tmp_path / "xml", photos, size=8)
        with pytest.raises(ValueError, match="none, and 0 that are cut off"):
            data.from_voc(tmp_path / "xml", photos, size=8, classes=["bird"])


def test_compare_takes_them(photos, tmp_path):
    voc(tmp_path / "xml", "0.jpg", ("cat", 6, 1, 15, 10))
    voc(tmp_path / "xml", "1.jpg", ("cat", 10, 5, 20, 15))
    model = toys.small_cnn()
    found = data.from_voc(tmp_path / "xml", photos, model, preprocess=lambda x: x / 255)
    compared = metrics.compare(
        model, found.images, ["saliency"], 2, boxes=found.boxes, fills="mean", steps=2, tolerance=0
    )
    titles = [measure.title for measure in compared.measures]
    assert "mass accuracy, box" in titles and "mass accuracy, mask" not in titles

"""The page in a browser: drops a photo, clicks a class, moves sliders, and compares the numbers."""

import base64
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tests import serving_standin, toys
from tf_learnprop import data
from tf_learnprop.app import places, view
from tf_learnprop.app.served import ServedBackend

SIDE = toys.SIDE

#: Addresses that this process has connected to, while it is a set.
_connected = None


def _note(event, arguments):
    if event == "socket.connect" and _connected is not None and isinstance(arguments[1], tuple):
        _connected.add(arguments[1][0])


def expect(what):
    """Playwright's `expect`; only the process that opens pages loads it, as that takes seconds."""
    from playwright import sync_api

    return sync_api.expect(what)


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("needs Chromium on the path")
    pytest.importorskip("gradio")
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=60_000)
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture
def open_page(browser, monkeypatch):
    """Serves a backend and opens its page. At the end, nothing has been loaded from anywhere else."""
    from tf_learnprop.app import server

    global _connected
    sys.addaudithook(_note)
    _connected, opened, requests = set(), [], []
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back at the end

    def open_page(backend):
        serving = server.serve(backend, "toy", "127.0.0.1", server.free_port("127.0.0.1", None))
        url = serving.__enter__()
        opened.append(serving)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(60_000)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        return page

    yield open_page
    for serving in opened:
        serving.__exit__(None, None, None)
    assert {address for address in _connected} <= {"127.0.0.1"}
    _connected = None
    assert requests and all(url.startswith(("http://127.0.0.1:", "blob:", "data:")) for url in requests)


def drop(page, path, kind="image/png", shown="#top label"):
    """Drops a file on the page, as from a file manager, until the page shows something.

    A drop is lost while the page is still getting ready, at its start or after another file.
    """
    from playwright.sync_api import TimeoutError

    content = base64.b64encode(path.read_bytes()).decode()
    for tries_left in reversed(range(4)):
        transfer = page.evaluate_handle(
            """([content, name, type]) => {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type }));
                return transfer;
            }""",
            [content, path.name, kind],
        )
        page.locator("#photo button", has_text="Drop").dispatch_event("drop", {"dataTransfer": transfer})
        try:
            page.locator(shown).first.wait_for(timeout=20_000)
            return
        except TimeoutError:
            if not tries_left:
                raise


def assert_numbers(page, backend, wrapped, path, class_id, share, attribution=None):
    """Waits until the page shows the probabilities that are computed here, for a share in percent."""
    pixels = data.read_image(path, SIDE, SIDE)
    images = np.float32(pixels[None]) / 64 - 2
    attribution = wrapped.explain(images, class_id)[0] if attribution is None else attribution
    photo = view.open_photo(path, backend)
    order = np.argsort(-attribution.ravel())
    top = np.zeros(SIDE * SIDE, bool)
    top[order[: round(share / 100 * SIDE * SIDE)]] = True
    top = top.reshape(SIDE, SIDE, 1)
    both = [np.where(top, pixels, photo.fill), np.where(top, photo.fill, pixels)]
    chances = wrapped.source(np.float32(both) / 64 - 2).numpy()[:, class_id]
    name, whole = backend.class_name(class_id), wrapped.source(images).numpy()[0, class_id]
    for part, chance, word in zip(("kept", "removed"), chances, ("with", "without"), strict=True):
        expected = f"{chance:.1%} {word} the top {share}%"
        expect(page.locator(f"#{part}")).to_contain_text(expected)
        expect(page.locator(f"#{part}")).to_contain_text(f"{name}: {whole:.1%} on the whole photo")


def move(page, slider, steps):
    handle = page.locator(f"#{slider} input[type=range]")
    handle.focus()
    for _ in range(abs(steps)):
        handle.press("ArrowRight" if steps > 0 else "ArrowLeft")


def test_drop_click_slide_and_download(open_page, in_process, wrapped, photo_file, tmp_path):
    page = open_page(in_process)
    drop(page, photo_file)
    best = view.open_photo(photo_file, in_process).top_classes()
    assert_numbers(page, in_process, wrapped, photo_file, best[0], 20)

    labels = page.locator("#top label")
    assert labels.count() == 4
    labels.nth(2).click()
    assert_numbers(page, in_process, wrapped, photo_file, best[2], 20)

    move(page, "share", 7)
    assert_numbers(page, in_process, wrapped, photo_file, best[2], 27)

    page.get_by_test_id("saliency-radio-label").click()
    gradient = in_process.explain(data.read_image(photo_file, SIDE, SIDE), best[2], "saliency")
    assert_numbers(page, in_process, wrapped, photo_file, best[2], 27, gradient)

    with page.expect_download() as download:
        page.locator("#npy").click()
    download.value.save_as(tmp_path / "map.npy")
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), gradient, rtol=1e-5)

    photo = view.open_photo(photo_file, in_process)
    explained = view.explain(photo, best[2], "saliency", in_process)
    source = page.locator("#map img").get_attribute("src")
    page.locator("#opacity input[type=number]").fill("40")
    expect(page.locator("#map img")).not_to_have_attribute("src", source)
    with page.expect_download() as download:
        page.locator("#png").click()
    assert download.value.suggested_filename.endswith("saliency.png")
    download.value.save_as(tmp_path / "map.png")
    found = np.asarray(Image.open(tmp_path / "map.png"))
    np.testing.assert_array_equal(found, view.overlay(explained, 0.4))

    page.locator("#compare").click()
    captions = page.locator("#compared .caption-label")
    expect(captions).to_have_count(len(in_process.compared))
    both = view.parts(explained, 0.27)
    kept, removed = view.part_probabilities(both, best[2], in_process)
    place = in_process.compared.index("saliency")
    expect(captions.nth(place)).to_have_text(f"saliency: kept {kept:.1%}, removed {removed:.1%}")


def test_questions_to_the_rules(open_page, in_process, wrapped, photo_file, tmp_path):
    page = open_page(in_process)
    drop(page, photo_file)
    best = view.open_photo(photo_file, in_process).top_classes(1)[0]
    assert_numbers(page, in_process, wrapped, photo_file, best, 20)
    images = np.float32(data.read_image(photo_file, SIDE, SIDE)[None]) / 64 - 2
    maps = {}
    for question, contrast in (
        ("What tells it from its rivals?", "names"),
        ("What speaks for it at all?", None),
    ):
        page.locator("#question label", has_text=question).click()
        (maps[contrast],) = wrapped.with_contrast(contrast).explain(images, best)
        assert_numbers(page, in_process, wrapped, photo_file, best, 20, maps[contrast])

    # Another method is not asked; the question stands when the rules are chosen again.
    page.get_by_test_id("saliency-radio-label").click()
    expect(page.locator("#question input").first).to_be_disabled()
    gradient = in_process.explain(data.read_image(photo_file, SIDE, SIDE), best, "saliency")
    assert_numbers(page, in_process, wrapped, photo_file, best, 20, gradient)
    page.locator("#method label", has_text="learned rules").click()
    expect(page.locator("#question input").first).to_be_enabled()
    assert_numbers(page, in_process, wrapped, photo_file, best, 20, maps[None])

    with page.expect_download() as download:
        page.locator("#npy").click()
    assert download.value.suggested_filename.endswith("learned_rules_no_competition.npy")
    download.value.save_as(tmp_path / "map.npy")
    found = np.load(tmp_path / "map.npy")
    np.testing.assert_allclose(found, maps[None], rtol=1e-4, atol=1e-5 * np.abs(found).max())

    page.locator("#compare").click()
    captions = page.locator("#compared .caption-label")
    for place, question in enumerate(("", ", names compete", ", no competition")):
        expect(captions.nth(place)).to_contain_text(f"learned rules{question}: kept ")


def test_paste_and_another_class(open_page, in_process, wrapped, photo_file):
    page = open_page(in_process)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async content => {
            const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
            const image = new Blob([bytes], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        }""",
        base64.b64encode(photo_file.read_bytes()).decode(),
    )
    page.get_by_label("Paste from clipboard").click()
    expect(page.locator("#top label")).to_have_count(4)
    page.get_by_label("Another class").fill("bird")
    page.get_by_role("option", name="<b>bird</b>").click()
    assert_numbers(page, in_process, wrapped, photo_file, 2, 20)


def test_bad_files_give_a_message(open_page, in_process, wrapped, photo_file, tmp_path, capfd):
    page = open_page(in_process)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no image")
    drop(page, bad, "image/jpeg", shown="text=bad.jpg can't be read as an image")
    assert page.locator("#kept").inner_text().strip() == ""
    drop(page, photo_file)
    best = view.open_photo(photo_file, in_process).top_classes(1)[0]
    assert_numbers(page, in_process, wrapped, photo_file, best, 20)
    assert "Traceback" not in capfd.readouterr().err


def click(page, row, column):
    """Clicks the picture of what was found at a pixel of the model's input."""
    picture = page.locator("#found img")
    picture.wait_for()
    place = picture.bounding_box()
    shown = min(place["width"], place["height"])  # the picture is square, and fitted into its frame
    left, top = (place["width"] - shown) / 2, (place["height"] - shown) / 2
    at = {"x": left + (column + 0.5) * shown / SIDE, "y": top + (row + 0.5) * shown / SIDE}
    picture.click(position=at)


def test_a_click_on_a_place_or_a_box(open_page, segmenter, detector, patches_file, tmp_path):
    pixels, backdrop = view.read_photo(patches_file, (SIDE, SIDE, 3))
    for backend, names in ((segmenter, ("red: 6.2%", "green: 14.1%")), (detector, ("red: ", "green: "))):
        page = open_page(backend)
        drop(page, patches_file, shown="#found img")
        question = list(backend.questions)[-1]
        page.locator("#question label", has_text=question).click()
        source = ""
        for (row, column), name in zip(((5, 3), (12, 12)), names, strict=True):
            click(page, row, column)
            field = page.locator("#name textarea, #name input")
            expect(field).to_have_value(re.compile(f"^{name}"))
            expect(page.locator("#map img")).not_to_have_attribute("src", source)
            source = page.locator("#map img").get_attribute("src")
        part = backend.parts(pixels).at(12, 12, backend.choices[0])
        attribution = backend.explain(pixels, part.target, backend.questions[question])
        with page.expect_download() as download:
            page.locator("#npy").click()
        download.value.save_as(tmp_path / "map.npy")
        np.testing.assert_allclose(np.load(tmp_path / "map.npy"), attribution, rtol=1e-5)
        with page.expect_download() as download:
            page.locator("#png").click()
        download.value.save_as(tmp_path / "map.png")
        expected = places.outlined(view.heat(backdrop, attribution, 0.85), part.mask)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "map.png")), expected)


def test_a_served_model(open_page, saved_model, wrapped, photo_file):
    with serving_standin.rest_server(saved_model, "toy") as address:
        served = ServedBackend(f"{address}/v1/models/toy")
        page = open_page(served)
        check_served(page, served, wrapped, photo_file)
    page.locator("#top label").nth(0).click()
    expect(page.get_by_text(f"no server answers at {address}")).to_be_visible()


def check_served(page, served, wrapped, photo_file):
    drop(page, photo_file)
    pixels = data.read_image(photo_file, SIDE, SIDE)
    best = view.open_photo(photo_file, served).top_classes()
    page.locator("#top label").nth(1).click()
    attribution = served.explain(pixels, best[1], "")
    assert_numbers(page, served, wrapped, photo_file, best[1], 20, attribution)
    move(page, "share", -5)
    assert_numbers(page, served, wrapped, photo_file, best[1], 15, attribution)
    for choice in ("#method", "#question", "#compare"):
        assert not page.locator(choice).is_visible()

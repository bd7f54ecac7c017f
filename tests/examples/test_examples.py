import ast
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import tf_learnprop as tlp

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = [*sorted((ROOT / "examples").rglob("*.py")), ROOT / "examples" / "tour.ipynb"]


def run(name, *arguments):
    """The standard output of an example, run as users do."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Runs an example in this process, which has loaded TensorFlow; returns its standard output."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        spec = importlib.util.spec_from_file_location(pathlib.Path(name).stem, ROOT / "examples" / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        return capsys.readouterr().out

    return run


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_quick_start(run_here, tmp_path):
    out = run_here("quick_start.py", "--out", tmp_path / "maps.png")
    assert re.search(r"cat.*espresso|cat.*cup", out)
    assert is_png(tmp_path / "maps.png")


def test_transfer_learning(run_here, tmp_path, eagerly):
    out = run_here("transfer_learning.py", "--limit", 24, "--steps", 1, "--out", tmp_path / "maps.png")
    assert int(re.search(r"training images: (\d+)%", out)[1]) >= 90
    assert is_png(tmp_path / "maps.png")


@pytest.mark.slow
def test_transfer_learning_of_a_folder(tmp_path, data_dir):
    arguments = ["--images", data_dir / "animals", "--limit", 60, "--steps", 2]
    out = run("transfer_learning.py", *arguments, "--out", tmp_path / "maps.png")
    assert int(re.search(r"training images: (\d+)%", out)[1]) >= 90


def test_audit(run_here, tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    out = run_here("audit.py", "--limit", 300, "--epochs", 30, "--out", tmp_path / "out")
    finds_the_mark(out, "9", tmp_path / "out" / "audit.html")


@pytest.mark.slow
def test_audit_of_cifar(tmp_path, data_dir):
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    data = np.load(data_dir / "cifar10" / "train_10k_jpeg.npz")
    jpeg, offsets, labels, names = (data[key] for key in ("jpeg", "offsets", "labels", "class_names"))
    for number, label in enumerate(labels[:4000]):
        path = tmp_path / "photos" / names[label] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg[offsets[number] : offsets[number + 1]].tobytes())
    out = run("audit.py", "--images", tmp_path / "photos", "--marked", "horse", "--out", tmp_path / "out")
    finds_the_mark(out, "horse", tmp_path / "out" / "audit.html")


def finds_the_mark(out, name, page):
    """Asserts that the first finding is the mark in the corner of a class, and on top of the page."""
    first = re.search(r"^.*of the weight lies in .*$", out, re.M)[0]
    share, other = map(int, re.findall(r"(\d+)%", first))
    assert first.startswith(f"{name}: ") and "in the lower right corner" in first
    assert share > 70 and other < 25
    assert page.read_text().index(first) < page.read_text().index("<table>")


@pytest.mark.slow
def test_compare_methods(tmp_path):
    arguments = ["--steps", 2, "--methods", "saliency,grad_cam"]
    out = run("compare_methods.py", *arguments, "--out", tmp_path / "maps.png")
    (block,) = re.findall(r"^insertion − deletion, mean  .*?\n\n", out, re.MULTILINE | re.DOTALL)
    scores = dict(re.findall(r"^([a-z_ ]+?) +(-?\d\.\d+) \[", block, re.MULTILINE))
    assert float(scores["trained rules"]) > float(scores["saliency"])
    assert is_png(tmp_path / "maps.png") and (tmp_path / "maps.html").exists()


@pytest.mark.slow
def test_sanity_checks():
    out = run("sanity_checks.py", "--layers", 1)
    assert out.count("rank correlation with the maps before") == 2


@pytest.mark.slow
def test_train_rules(tmp_path, data_dir):
    pattern = data_dir / "imagenet_sample" / "000[0-7]*.jpg"
    run("train_rules.py", "--images", pattern, "--epochs", 1, "--steps", 2, "--out", tmp_path / "rules.keras")
    assert (tmp_path / "rules.keras").exists()


@pytest.mark.slow
def test_demo(tmp_path):
    run("demo.py", "--out", tmp_path / "demo.png")
    assert is_png(tmp_path / "demo.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, arguments",
    {
        "quick_start": ["--model", "MobileNet", "--out", "maps.png"],
        "transfer_learning": "--backbone MobileNet --limit 12 --steps 1 --out maps.png".split(),
        "train_rules": "--model MobileNet --images photos --epochs 1 --steps 1 --batch-size 2".split(),
    }.items(),
)
def test_a_model_of_keras_applications(name, arguments, run_here, tmp_path, monkeypatch, data_dir):
    """With random weights, as the ImageNet weights would be downloaded."""
    build = keras.applications.MobileNet

    def untrained(weights, **options):
        assert weights == "imagenet"
        return build(weights=None, **options)

    untrained.__module__ = build.__module__
    monkeypatch.setattr(keras.applications, "MobileNet", untrained)
    (tmp_path / "photos").symlink_to(data_dir / "animals" / "dog")
    monkeypatch.chdir(tmp_path)
    run_here(f"{name}.py", *arguments)
    assert is_png(tmp_path / "maps.png") if "maps.png" in arguments else (tmp_path / "rules.keras").exists()


def areas_of_deletion(out):
    """Areas under the deletion curves that an example prints, by order of deletion."""
    found = re.findall(r"^(.+?) +area under the deletion curve (\d\.\d+)", out, re.M)
    return {name: float(area) for name, area in found}


def test_tabular(tmp_path):
    out = run("tabular.py", "--out", tmp_path / "curves.png")
    assert float(re.search(r"accuracy on test rows: ([\d.]+)%", out)[1]) > 95
    areas = areas_of_deletion(out)
    assert areas["highest values first"] < areas["random order"] - 0.2
    assert is_png(tmp_path / "curves.png")


@pytest.mark.slow
def test_text(tmp_path):
    out = run("text.py", "--out", tmp_path / "words.png")
    assert float(re.search(r"accuracy on test texts: ([\d.]+)%", out)[1]) > 70
    areas = areas_of_deletion(out)
    assert areas["highest values first"] < areas["random order"] - 0.2
    assert is_png(tmp_path / "words.png")


def test_keras_hub_preset(run_here, tmp_path):
    pytest.importorskip("keras_hub")
    out = run_here("keras_hub_preset.py", "--random", "--out", tmp_path / "maps.png")
    assert "The map is read from the input and the last feature map before attention" in out
    assert is_png(tmp_path / "maps.png")


def test_a_keras_hub_preset_that_is_not_there(run_here):
    pytest.importorskip("keras_hub")
    with pytest.raises(SystemExit) as end:  # prints the one line, and exits with status 1
        run_here("keras_hub_preset.py", "--preset", "no_such_preset")
    assert end.value.code.startswith("The preset 'no_such_preset' can't be loaded (")
    assert "--random" in end.value.code and "\n" not in end.value.code


def code_of(file):
    """The syntax tree of a script, or of the code cells of a notebook."""
    text = file.read_text()
    if file.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
        text = "\n".join(line for line in lines if not line.startswith(("%", "!")))
    return ast.parse(text)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_use_the_public_api_alone(file):
    """They import the package and its public modules, and touch no private attribute."""
    public = {"tf_learnprop", *(f"tf_learnprop.{name}" for name in tlp.__all__)}
    for node in ast.walk(code_of(file)):
        imported = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            assert not node.attr.startswith("_") or node.attr.endswith("__"), node.attr
        ours = [name.split(".") for name in imported if name.split(".")[0] == "tf_learnprop"]
        assert all(".".join(parts[:2]) in public for parts in ours), imported
        assert not any(part.startswith("_") for parts in ours for part in parts), imported

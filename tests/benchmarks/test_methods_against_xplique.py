"""Our methods against those of xplique 2.0.2, with the same model and draws: 1e-4 of the largest value.

Where xplique computes something else, the test says what, and compares after that step. It needs the
environment of `make test-bench`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp

SIDE, CLASSES, COUNT = 12, 4, 3
IDS = np.array([2, 0, 3])
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[IDS]


@pytest.fixture(scope="module")
def attributions():
    return pytest.importorskip("xplique.attributions")


@pytest.fixture(scope="module")
def model():
    """The last feature map is as large as the image, as xplique enlarges maps by cubic interpolation."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same")(image)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(5, 3, padding="same")(x)
    x = keras.layers.ReLU(name="features")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, name="logits")(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(COUNT, SIDE, SIDE, 3)).astype(np.float32)


def ours(model, images, method, **options):
    return tlp.explain(model, images, IDS, method=method, **options)


def theirs(explainer, images):
    found = np.asarray(explainer.explain(images, ONE_HOT))
    return found[..., 0] if found.shape[-1] == 1 else found


def close(found, expected):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_saliency(attributions, model, images):
    expected = theirs(attributions.Saliency(model, reducer=None), images)
    close(ours(model, images, "saliency"), np.abs(expected).max(-1))


def test_gradient_x_input(attributions, model, images):
    close(
        ours(model, images, "gradient_x_input"),
        theirs(attributions.GradientInput(model, reducer="sum"), images),
    )


@pytest.mark.parametrize("steps", [2, 9])
def test_integrated_gradients(attributions, model, images, steps):
    """xplique takes the trapezoid."""
    expected = theirs(
        attributions.IntegratedGradients(model, steps=steps, baseline_value=0.5, reducer="sum"), images
    )
    found = ours(model, images, "integrated_gradients", steps=steps, baseline=0.5, quadrature="trapezoid")
    close(found, expected)


@pytest.mark.parametrize(
    ("name", "theirs_is"),
    [("smoothgrad", "SmoothGrad"), ("smoothgrad_squared", "SquareGrad"), ("vargrad", "VarGrad")],
)
def test_noisy_gradients(attributions, model, images, name, theirs_is, monkeypatch):
    """With our noise: xplique draws its own, and its size is not relative to the range of the image."""
    from xplique.attributions.gradient_statistics.gradient_statistic import GradientStatistic

    samples = 8
    noise = np.stack([tf.random.stateless_normal(images.shape[1:], [0, k]) for k in range(samples)])

    def perturbed(inputs, count, size):
        spread = np.ptp(inputs, axis=(1, 2, 3), keepdims=True)
        copies = inputs[:, None] + 0.15 * spread[:, None] * noise
        return tf.reshape(copies, [-1, *inputs.shape[1:]])

    monkeypatch.setattr(GradientStatistic, "_perturb_samples", staticmethod(perturbed))
    explainer = getattr(attributions, theirs_is)(
        model, nb_samples=samples, batch_size=samples * COUNT, reducer=None
    )
    expected = theirs(explainer, images)
    # The variance of xplique is that of a sample of the noise: over one less.
    expected = expected * ((samples - 1) / samples if name == "vargrad" else 1)
    close(ours(model, images, name, samples=samples), np.abs(expected).max(-1))


@pytest.mark.parametrize(
    ("name", "theirs_is"), [("guided_backprop", "GuidedBackprop"), ("deconvnet", "DeconvNet")]
)
def test_rules(attributions, model, images, name, theirs_is):
    expected = theirs(getattr(attributions, theirs_is)(model, reducer=None), images)
    close(ours(model, images, name), np.abs(expected).max(-1))


def test_grad_cam(attributions, model, images):
    close(ours(model, images, "grad_cam"), theirs(attributions.GradCAM(model, conv_layer="features"), images))


def test_grad_cam_pp(attributions, model, images, monkeypatch):
    """The paper sums the feature map; xplique takes its mean, and means for sums over the places."""
    own = attributions.GradCAMPP._compute_weights

    def of_sums(gradients, features):
        return own(gradients, features * SIDE**2) * SIDE**2

    monkeypatch.setattr(attributions.GradCAMPP, "_compute_weights", staticmethod(of_sums))
    explainer = attributions.GradCAMPP(model, conv_layer="features")
    close(ours(model, images, "grad_cam_pp"), theirs(explainer, images))


def probability(model):
    return keras.Model(model.input, keras.ops.softmax(model.outputs[0]))


def test_occlusion(attributions, model, images):
    """xplique adds up the falls; ours are their mean over the patches that hide a pixel."""
    patch, stride = 4, 2
    expected = theirs(
        attributions.Occlusion(probability(model), patch_size=patch, patch_stride=stride), images
    )
    times = np.zeros((SIDE, SIDE))
    for row in range(0, SIDE - patch + 1, stride):
        for column in range(0, SIDE - patch + 1, stride):
            times[row : row + patch, column : column + patch] += 1
    close(ours(model, images, "occlusion", patch=patch, stride=stride) * times, expected)


def test_rise(attributions, model, images, monkeypatch):
    """With our masks. xplique keeps the mean over all masks, which ours take away."""
    count = 30
    masks = tlp.methods.RISE(masks=count, cells=4)._masks((SIDE, SIDE))(slice(0, count))[..., None]
    monkeypatch.setattr(attributions.Rise, "_get_masks", staticmethod(lambda *arguments: masks))
    monkeypatch.setattr(
        attributions.Rise, "_apply_masks", staticmethod(lambda image, part, value: (part * image, part))
    )
    expected = theirs(attributions.Rise(probability(model), nb_samples=count, batch_size=count), images)
    scores = [
        tf.nn.softmax(model(masks * image)).numpy()[:, k].mean() for image, k in zip(images, IDS, strict=True)
    ]
    found = ours(model, images, "rise", masks=count, cells=4)
    close(found + np.reshape(scores, [-1, 1, 1]), expected)

"""Classifiers trained on all train images of CIFAR: a ViT, and a Mix Transformer and a ResNet of KerasHub."""

import functools

import keras
import tensorflow as tf

from benchmarks.evaluation import hub, token_models

_BATCH = 50
#: Pixels by which images are shifted at most.
_SHIFT = 4


def trained(name, photos, labels, checkpoint):
    """Trains a model from a fixed seed; an interrupted training goes on.

    Args:
        name: str, one of `NAMES`.
        photos: float32 `[n, h, w, c]`, preprocessed.
        labels: int `[n]`.
        checkpoint: `pathlib.Path`, folder for the state of the training; it is removed at the end.

    Returns:
        `keras.Model` that gives logits.
    """
    build, epochs = _MODELS[name]
    keras.utils.set_random_seed(0)
    classes = int(labels.max()) + 1
    model = build(photos.shape[1:], classes)
    steps = epochs * (len(photos) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05, global_clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    model.fit(
        _batches(photos, tf.one_hot(labels, classes)),
        steps_per_epoch=len(photos) // _BATCH,
        epochs=epochs,
        verbose=2,
        callbacks=[keras.callbacks.BackupAndRestore(checkpoint)],
    )
    return model


def _batches(photos, labels):
    """Endless batches of images that are mirrored and shifted at random."""
    height, width, channels = photos.shape[1:]

    def augment(photo, label):
        padded = tf.pad(photo, [[_SHIFT, _SHIFT], [_SHIFT, _SHIFT], [0, 0]], "REFLECT")
        return tf.image.random_flip_left_right(tf.image.random_crop(padded, (height, width, channels))), label

    data = tf.data.Dataset.from_tensor_slices((photos, labels)).shuffle(len(photos), seed=0).repeat()
    return data.map(augment).batch(_BATCH, drop_remainder=True).prefetch(1)


def mit(shape, classes):
    """KerasHub's Mix Transformer in two stages: Xie et al., "SegFormer", NeurIPS 2021."""
    models = hub.keras_hub().models
    backbone = models.MiTBackbone(
        layerwise_depths=[2, 2],
        num_layers=2,
        layerwise_num_heads=[2, 4],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.0,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=shape,
        hidden_dims=[48, 96],
    )
    return models.MiTImageClassifier(backbone, num_classes=classes)


def resnet(shape, classes):
    """KerasHub's ResNet with three basic blocks."""
    models = hub.keras_hub().models
    backbone = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128, 256],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 1],
        block_type="basic_block",
        image_shape=shape,
    )
    return models.ResNetImageClassifier(backbone, num_classes=classes)


_MODELS = {
    # architecture, epochs
    "cifar_vit": (functools.partial(token_models.vit, head="gap", dropout=0.1), 60),
    "cifar_mit": (mit, 30),
    "cifar_hub_resnet": (resnet, 20),
}
NAMES = tuple(_MODELS)

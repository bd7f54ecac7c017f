"""Token models of the benchmark: a vision transformer with three kinds of head, an MLP-Mixer, and Swin."""

import keras
from keras import layers, ops

from benchmarks.evaluation import hub


@keras.saving.register_keras_serializable("benchmarks")
class Patches(layers.Layer):
    """Cuts images `[n, h, w, c]` into patches, `[n, patches, size²·c]`.

    Args:
        size: int, pixels of a patch's side.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, images):
        patches = ops.image.extract_patches(images, self.size)
        _, rows, columns, values = patches.shape
        return ops.reshape(patches, (-1, rows * columns, values))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("benchmarks")
class Positions(layers.Layer):
    """Adds a learned vector to each token, and puts class tokens before the others.

    Args:
        class_tokens: int.
    """

    def __init__(self, class_tokens=0, **kwargs):
        super().__init__(**kwargs)
        self.class_tokens = class_tokens

    def build(self, shape):
        _, count, width = shape
        self.positions = self.add_weight(
            name="positions", shape=(1, self.class_tokens + count, width), initializer="truncated_normal"
        )
        if self.class_tokens:
            self.tokens = self.add_weight(
                name="class_tokens", shape=(1, self.class_tokens, width), initializer="truncated_normal"
            )

    def call(self, tokens):
        if self.class_tokens:
            first = ops.repeat(self.tokens, ops.shape(tokens)[0], axis=0)
            tokens = ops.concatenate([first, tokens], axis=1)
        return tokens + self.positions

    def get_config(self):
        return {**super().get_config(), "class_tokens": self.class_tokens}


def vit(shape, classes, head, *, patch=4, width=64, blocks=3, heads=4, dropout=0.0):
    """A vision transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.

    Args:
        shape: tuple of ints, (h, w, c).
        classes: int.
        head: str, what the last layer sees: "gap" (mean of the tokens), "cls" (class token) or "flat" (all).
        patch: int, pixels of a patch's side.
        width: int, values of a token.
        blocks: int.
        heads: int, of the attention.
        dropout: float.
    """
    inputs = keras.Input(shape)
    x = layers.Dense(width, name="embedding")(Patches(patch)(inputs))
    x = Positions(class_tokens=int(head == "cls"))(x)
    x = layers.Dropout(dropout)(x)
    for number in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=f"attention_{number}")(
            y, y
        )
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(2 * width, activation="gelu")(y)
        y = layers.Dense(width)(layers.Dropout(dropout)(y))
        x = layers.Add()([x, layers.Dropout(dropout)(y)])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    if head == "gap":
        x = layers.GlobalAveragePooling1D()(x)
    elif head == "cls":
        x = x[:, 0]
    else:
        x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name=f"vit_{head}")


def mixer(shape, classes, *, patch=4, width=64, blocks=3):
    """An MLP-Mixer: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021.

    Args:
        shape: tuple of ints, (h, w, c).
        classes: int.
        patch: int, pixels of a patch's side.
        width: int, values of a token.
        blocks: int.
    """
    inputs = keras.Input(shape)
    x = layers.Dense(width, name="embedding")(Patches(patch)(inputs))
    tokens = x.shape[1]
    for _ in range(blocks):
        y = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(x))
        y = layers.Dense(tokens)(layers.Dense(2 * tokens, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(y))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(classes)(x), name="mixer")


def swin(shape, classes, *, patch=2, width=32, depths=(2, 2), heads=(2, 4), window=4):
    """KerasHub's Swin Transformer: Liu et al., "Swin Transformer", ICCV 2021.

    Args:
        shape: tuple of ints, (h, w, c).
        classes: int.
        patch: int, pixels of a patch's side.
        width: int, values of a token in the first stage.
        depths: tuple of ints, blocks of each stage.
        heads: tuple of ints, of the attention in each stage.
        window: int, tokens of a window's side.

    """
    models = hub.keras_hub().models
    backbone = models.SwinTransformerBackbone(
        image_shape=shape,
        embed_dim=width,
        depths=depths,
        num_heads=heads,
        window_size=window,
        patch_size=patch,
        mlp_ratio=2.0,
        drop_path=0.0,
    )
    return models.SwinTransformerImageClassifier(backbone, num_classes=classes)

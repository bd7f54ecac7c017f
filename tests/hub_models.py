"""The image classifiers of KerasHub, each with a tiny backbone and random weights."""

from typing import Any

import keras
import keras_hub

SIDE = 32
IMAGE = (SIDE, SIDE, 3)

MOBILENET_V5_STAGES = {
    "block_types": [["er"], ["uir", "uir"]],
    "num_blocks": [1, 2],
    "num_filters": [[8], [8, 8]],
    "strides": [[2], [2, 1]],
    "act_layers": [["relu"], ["relu", "relu"]],
    "exp_ratios": [[2.0], [2.0, 2.0]],
    "se_ratios": [[0.0], [0.0, 0.0]],
    "dw_kernel_sizes": [[0], [5, 5]],
    "dw_start_kernel_sizes": [[0], [0, 0]],
    "dw_end_kernel_sizes": [[0], [0, 0]],
    "exp_kernel_sizes": [[3], [0, 0]],
    "pw_kernel_sizes": [[1], [0, 0]],
    "num_heads": [[0], [0, 0]],
    "key_dims": [[0], [0, 0]],
    "value_dims": [[0], [0, 0]],
    "kv_strides": [[0], [0, 0]],
    "use_cpe": [[False], [False, False]],
}

#: Settings of the backbone by family, and those of the classifier.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CSPNet": (
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 1,
            "stackwise_depth": [1, 2],
            "stackwise_strides": [1, 2],
            "stackwise_num_filters": [8, 16],
            "block_type": "dark_block",
            "stage_type": "dark",
        },
        {},
    ),
    "DeiT": (
        {
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 8,
            "intermediate_dim": 16,
        },
        {},
    ),
    "DenseNet": ({"stackwise_num_repeats": [1, 2], "growth_rate": 4}, {}),
    "EfficientNet": (
        {
            "stackwise_width_coefficients": [1.0, 1.0],
            "stackwise_depth_coefficients": [1.0, 1.0],
            "stackwise_kernel_sizes": [3, 3],
            "stackwise_num_repeats": [1, 1],
            "stackwise_input_filters": [8, 8],
            "stackwise_output_filters": [8, 8],
            "stackwise_expansion_ratios": [1, 2],
            "stackwise_squeeze_and_excite_ratios": [0.0, 0.25],
            "stackwise_strides": [1, 2],
            "stackwise_block_types": ["fused", "unfused"],
            "num_features": 16,
        },
        {},
    ),
    "HGNetV2": (
        {
            "depths": [1, 1],
            "embedding_size": 8,
            "hidden_sizes": [16, 16],
            "stem_channels": [3, 8, 8],
            "hidden_act": "relu",
            "use_learnable_affine_block": True,
            "stackwise_stage_filters": [(8, 8, 16, 1, 1, 3), (16, 8, 16, 1, 1, 3)],
            "apply_downsample": [False, True],
            "use_lightweight_conv_block": [False, True],
        },
        {"preprocessor": None, "head_filters": 8},
    ),
    "MiT": (
        {
            "layerwise_depths": [1, 1],
            "num_layers": 2,
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [2, 1],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
            "hidden_dims": [8, 16],
        },
        {},
    ),
    "MobileNet": (
        {
            "stackwise_expansion": [[8], [16]],
            "stackwise_num_blocks": [1, 1],
            "stackwise_num_filters": [[8], [8]],
            "stackwise_kernel_size": [[3], [5]],
            "stackwise_num_strides": [[2], [1]],
            "stackwise_se_ratio": [[None], [0.25]],
            "stackwise_activation": [["relu"], ["hard_swish"]],
            "stackwise_padding": [[1], [2]],
            "output_num_filters": 16,
            "depthwise_filters": 8,
            "depthwise_stride": 2,
            "depthwise_residual": False,
            "squeeze_and_excite": 0.5,
            "last_layer_filter": 16,
        },
        {"num_features": 16},
    ),
    "MobileNetV5": (
        {f"stackwise_{name}": value for name, value in MOBILENET_V5_STAGES.items()} | {"use_msfa": False},
        {"head_hidden_size": 16},
    ),
    "ResNet": (
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [3],
            "stackwise_num_filters": [64, 64],
            "stackwise_num_blocks": [1, 1],
            "stackwise_num_strides": [1, 2],
            "block_type": "basic_block",
        },
        {},
    ),
    "SwinTransformer": (
        {
            "embed_dim": 8,
            "depths": (2, 1),
            "num_heads": (2, 2),
            "window_size": 4,
            "patch_size": 4,
            "mlp_ratio": 2.0,
        },
        {},
    ),
    "VGG": (
        {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [4, 8]},
        {"pooling_hidden_dim": 16},
    ),
    "ViT": (
        {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16},
        {},
    ),
    "Xception": (
        {"stackwise_conv_filters": [[8, 8], [8, 8]], "stackwise_pooling": [True, False]},
        {},
    ),
}


def classifier(family: str, activation: str | None = "softmax", **settings: Any) -> keras.Model:
    """A classifier of five classes."""
    backbone, head = FAMILIES[family]
    size = {"input_shape": IMAGE} if family == "EfficientNet" else {"image_shape": IMAGE}
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**size, **backbone, **settings)
    if family not in ("MobileNet", "MobileNetV5"):  # these end in logits
        head = {**head, "activation": activation}
    return getattr(keras_hub.models, f"{family}ImageClassifier")(backbone=backbone, num_classes=5, **head)


def title(family: str) -> str:
    """What the classifier of a family is called in tables."""
    return f"`{family}ImageClassifier`"


def retina_net() -> keras.Model:
    """A small detector, random weights, images of 64 x 64."""
    keras.utils.set_random_seed(0)
    image_encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(64, 64, 3),
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=image_encoder, min_level=3, max_level=4, use_p5=False, image_shape=(64, 64, 3)
    )
    return keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=2, bounding_box_format="yxyx", pre_logits_num_conv_layers=1
    )

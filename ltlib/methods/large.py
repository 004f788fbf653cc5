"""The recipe of the large data sets that all methods share unless their own paper sets another: stage 1 of MiSLAS
without its mixup (the configurations of its code; row "CE, no mixup" of its Table 1).

SGD, momentum 0.9, rate 0.1 in batches of 256, a cosine without warm-up, crops of 224 pixels with jittered colours.
"""

from __future__ import annotations

_COMMON = {
    "batch_size": 256,
    "lr": 0.1,
    "schedule": "cosine",
    "image_size": 224,
    "augmentation": "resized_crop_flip_jitter",
}
LARGE: dict[str, dict[str, object]] = {
    "imagenet_lt": _COMMON | {"backbone": "resnet50", "epochs": 180, "weight_decay": 5e-4},
    "inaturalist2018": _COMMON | {"backbone": "resnet50", "epochs": 200, "weight_decay": 1e-4},
    # ResNet-152 as ImageNet left it, never trained further, but for its last block, which starts from scratch.
    "places_lt": _COMMON
    | {"backbone": "resnet152", "epochs": 90, "weight_decay": 5e-4, "pretrained": True, "frozen": True},
}

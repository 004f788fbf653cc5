"""The published data sets that are defined by list files, and what is known of them.

The papers group their classes into many / medium / few by the two rules of `longtail.shot_groups`, which is why a
table must name its rule: by training images (``threshold``: more than 100, 20 to 100, fewer than 20), ImageNet-LT has
385 / 479 / 136 and Places-LT 131 / 163 / 71 classes; by the fixed ranges in the code of MiSLAS and ResLT (``papers``),
390 / 445 / 165, 131 / 157 / 77, and 842 / 3701 / 3599 for iNaturalist 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# What the papers normalise with.
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
INATURALIST = {"mean": (0.466, 0.471, 0.380), "std": (0.195, 0.194, 0.192)}

LISTS = "https://github.com/facebookresearch/classifier-balancing"


@dataclass(frozen=True)
class Preset:
    """One published long-tailed data set.

    Attributes:
        title: its name in the literature.
        num_classes, train_images, test_images: sizes; every class has equally many test images.
        largest, smallest: training images of the largest and the smallest class.
        folder: its folder below ``LTLIB_DATA``, unless data_dir is given.
        train_lists, test_lists: published file names; the two lists of Places-LT differ in their paths only.
        needs: what to download and where to put it, half a sentence.
        mean, std: per channel, in [0, 1].
        sha256: of the published lists where it is known, by file name.
    """

    title: str
    num_classes: int
    train_images: int
    test_images: int
    largest: int
    smallest: int
    folder: str
    train_lists: tuple[str, ...]
    test_lists: tuple[str, ...]
    needs: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: dict[str, str] = field(default_factory=dict)


PRESETS = {
    # Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019. The papers test on the 50,000 images
    # of ImageNet_LT_test.txt; ImageNet_LT_val.txt (20,000) is for choosing. No checksum of the training list is known.
    "imagenet_lt": Preset(
        title="ImageNet-LT",
        num_classes=1000,
        train_images=115_846,
        test_images=50_000,
        largest=1280,
        smallest=5,
        folder="imagenet_lt",
        train_lists=("ImageNet_LT_train.txt",),
        test_lists=("ImageNet_LT_test.txt",),
        needs=(
            "ImageNet-LT needs the images of ILSVRC 2012 from https://image-net.org as train/<wnid>/*.JPEG and "
            f"val/<wnid>/*.JPEG, and beside them ImageNet_LT_train.txt and ImageNet_LT_test.txt from {LISTS}, "
            "in imagenet_lt below LTLIB_DATA or in data_dir"
        ),
        **IMAGENET,
        sha256={"ImageNet_LT_test.txt": "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5"},
    ),
    # The same paper. Places_LT_val.txt (7,300) is for choosing. The v2 lists (MiSLAS) name the files of the small
    # images, data_256/a/airfield/1.jpg; the first ones (OLTR) name train/airfield/1.jpg.
    "places_lt": Preset(
        title="Places-LT",
        num_classes=365,
        train_images=62_500,
        test_images=36_500,
        largest=4980,
        smallest=5,
        folder="places_lt",
        train_lists=("Places_LT_train.txt", "Places_LT_v2_train.txt"),
        test_lists=("Places_LT_test.txt", "Places_LT_v2_test.txt"),
        needs=(
            "Places-LT needs the small images of Places365-Standard from http://places2.csail.mit.edu (data_256/ and "
            "val_256/, or train/ and val/), and beside them Places_LT_train.txt and Places_LT_test.txt from "
            f"{LISTS} (or the v2 lists of MiSLAS), in places_lt below LTLIB_DATA or in data_dir"
        ),
        **IMAGENET,
        sha256={
            "Places_LT_train.txt": "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
            "Places_LT_test.txt": "44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc",
            "Places_LT_v2_train.txt": "09410632a22045212fb3231623261e8426ba8dc1887a2b633afeab78ba9c8868",
            "Places_LT_v2_test.txt": "3c34622e44f036b17c7926b0b6bbdd3d335fa63077409ebb06da68afa7073cd9",
        },
    ),
    # Van Horn et al., The iNaturalist Species Classification and Detection Dataset, CVPR 2018. The papers test on its
    # validation images. No checksum of the training list is known.
    "inaturalist2018": Preset(
        title="iNaturalist 2018",
        num_classes=8142,
        train_images=437_513,
        test_images=24_426,
        largest=1000,
        smallest=2,
        folder="inaturalist2018",
        train_lists=("iNaturalist18_train.txt",),
        test_lists=("iNaturalist18_val.txt",),
        needs=(
            "iNaturalist 2018 needs train_val2018/ from https://github.com/visipedia/inat_comp/tree/master/2018, and "
            f"beside it iNaturalist18_train.txt and iNaturalist18_val.txt from {LISTS}, in inaturalist2018 below "
            "LTLIB_DATA or in data_dir"
        ),
        **INATURALIST,
        sha256={"iNaturalist18_val.txt": "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3"},
    ),
}

"""The figures of the lessons, one file per lesson. The figures that several of them need are here.

>>> from ltlib.lesson import figures
>>> figures.per_class({"MiSLAS": run.info["metrics"]}, run.info["data"]["class_names"])
>>> figures.mislas.weight_norms({"MiSLAS": method.weight_norms()}, counts)  # a figure of lesson 03
"""

from ltlib.lesson.figures import (
    adversarial_examples,
    collapse,
    drawings,
    full_scale,
    lbgat,
    long_tailed_data,
    measuring,
    mislas,
    photographs,
    pretrained,
    reslt,
    results,
    robust_long_tail,
    sharpness,
    trajectory,
)
from ltlib.lesson.figures.common import (
    ablation,
    answers,
    class_counts,
    confusion,
    groups,
    image_rows,
    learning_curves,
    per_class,
    reliability,
    spread,
    sweep,
    two_measures,
)
from ltlib.lesson.figures.figure import Picture

__all__ = [
    "Picture",
    "ablation",
    "adversarial_examples",
    "answers",
    "class_counts",
    "collapse",
    "confusion",
    "drawings",
    "full_scale",
    "groups",
    "image_rows",
    "lbgat",
    "learning_curves",
    "long_tailed_data",
    "measuring",
    "mislas",
    "per_class",
    "photographs",
    "pretrained",
    "reliability",
    "reslt",
    "results",
    "robust_long_tail",
    "sharpness",
    "spread",
    "sweep",
    "trajectory",
    "two_measures",
]

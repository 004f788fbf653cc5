"""The exercises of all lessons. A notebook needs one name of this package: ``check``.

>>> from ltlib.lesson.exercises import check
>>> check.factor_from_counts(my_function)
"""

from ltlib.lesson.exercises import (
    adversarial_examples,
    capstone,
    full_scale,
    lbgat,
    long_tailed_data,
    measuring,
    mislas,
    pretrained,
    reslt,
    results,
    robust_long_tail,
    start_here,
)
from ltlib.lesson.exercises.exercise import EXERCISES, Exercise, WrongAnswer, check

__all__ = [
    "EXERCISES",
    "Exercise",
    "WrongAnswer",
    "adversarial_examples",
    "capstone",
    "check",
    "full_scale",
    "lbgat",
    "long_tailed_data",
    "measuring",
    "mislas",
    "pretrained",
    "reslt",
    "results",
    "robust_long_tail",
    "start_here",
]

"""Drawings: what a picture says faster than a paragraph. Made by code, in one style, each with its text."""

from ltlib.lesson.figures.drawings.attacks import ball, guide
from ltlib.lesson.figures.drawings.data import run_flow, sampler
from ltlib.lesson.figures.drawings.training import (
    branches,
    label_aware_smoothing,
    report_card,
    shifted_batchnorm,
    two_stages,
)

__all__ = [
    "ball",
    "branches",
    "guide",
    "label_aware_smoothing",
    "report_card",
    "run_flow",
    "sampler",
    "shifted_batchnorm",
    "two_stages",
]

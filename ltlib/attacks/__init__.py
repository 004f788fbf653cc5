"""Attacks: small changes of an image, chosen to make a network err.

An attack is a frozen dataclass of its settings. Called with a function from images in [0, 1] to logits, with images
and with labels, it returns adversarial images in the ball around them. Normalisation lives inside the network.

>>> attack = PGD(epsilon=8 / 255, steps=20)
>>> with attacked(method):
...     x_adv = attack(method.logits, x, y)
"""

from ltlib.attacks.apgd import APGD
from ltlib.attacks.ball import Ball, attacked
from ltlib.attacks.fab import FAB
from ltlib.attacks.pgd import PGD, fgsm
from ltlib.attacks.square import Square

__all__ = ["APGD", "FAB", "PGD", "Ball", "Square", "attacked", "fgsm"]

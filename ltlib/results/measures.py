"""What a table can be asked for: every measure of the report card, of all images or of one group, clean or attacked.

The measures themselves are the lines of ``ltlib.evaluation.evaluate.MEASURES``; here they get their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ltlib.errors import InputError, nearest
from ltlib.evaluation.evaluate import MEASURES
from ltlib.experiments.attack import ATTACKS

GROUPS = ("many", "medium", "few")
ROBUST = "robust"  # under each attack that was measured

# Measures that no group has: key in the report card -> name.
OF_ALL_CLASSES = {"worst_class_accuracy": "worst class", "balanced_accuracy": "balanced accuracy"}
# Measures of a robust report and of no report card: the images that were attacked, as they are.
OF_ATTACKED = {"clean_accuracy": "clean accuracy"}


# What tables call an attack, where that is not its name on the command line.
TITLES = {"pgd20": "PGD-20", "cw20": "CW-20", "apgd": "APGD", "official": "AutoAttack"}


@dataclass(frozen=True)
class Metric:
    """A measure, the images it is taken of, and the attack on them.

    Attributes:
        measure: a key of the report card.
        group: ``many``, ``medium``, ``few``, or "" for all images.
        under: the name of an attack (a key of ``ltlib.experiments.attack.ATTACKS``), ``robust`` for every attack,
            or "" for clean images.
    """

    measure: str
    group: str = ""
    under: str = ""

    @property
    def name(self) -> str:
        """Such as ``robust accuracy few`` or ``PGD-20 ECE``."""
        known = OF_ALL_CLASSES | OF_ATTACKED
        measure = MEASURES[self.measure].name if self.measure in MEASURES else known[self.measure]
        return " ".join(filter(None, (TITLES.get(self.under, self.under), measure, self.group)))

    @property
    def is_share(self) -> bool:
        """Whether it is a fraction, which is printed in per cent."""
        return self.measure not in MEASURES or MEASURES[self.measure].is_share

    def of(self, card: Mapping, rule: str) -> float | None:
        """Its value on a report card, None where it is not measured or not defined.

        Args:
            card: of :func:`ltlib.evaluation.evaluate.report_card`.
            rule: of the groups.
        """
        images = card["groups"].get(rule, {}).get(self.group, {}) if self.group else card
        return images.get(self.measure)

    def show(self, value: float | None) -> str:
        """A value for reading: per cent with one decimal, or a plain number with three."""
        if value is None:
            return "-"
        return f"{value:.1%}" if self.is_share else f"{value:.3f}"


def metric(name: str) -> Metric:
    """The metric of this name, such as ``nll``, ``adaptive ECE few`` or ``pgd20 accuracy``; large and small letters,
    spaces, hyphens and underscores are the same.

    Raises:
        InputError: there is no such metric.
    """
    found = _by_plain_name().get(_plain(name))
    if found is None:
        measures = [of.name for of in MEASURES.values()]
        names = [
            *measures,
            *OF_ALL_CLASSES.values(),
            *(f"{measure} {group}" for measure in measures for group in GROUPS),
        ]
        close = nearest(name, names).partition(" Allowed:")[0]
        raise InputError(
            f"metric {name!r} is not known.{close} Allowed: {', '.join(names)}; "
            f"with {', '.join(GROUPS)} after it for one group, as in 'accuracy few'; "
            f"with {', '.join([ROBUST, *ATTACKS])} before it for attacked images, as in 'robust accuracy'."
        )
    return found


def _by_plain_name() -> dict[str, Metric]:
    of_cards = [Metric(key, group) for key in MEASURES for group in ("", *GROUPS)]
    of_cards += [Metric(key) for key in OF_ALL_CLASSES]
    found = [Metric(m.measure, m.group, under) for m in of_cards for under in ("", ROBUST, *ATTACKS)]
    found += [Metric(key, "", under) for key in OF_ATTACKED for under in (ROBUST, *ATTACKS)]
    # By name, as "Brier score few", and by the key of the report card, as "brier few".
    return {_plain(name): m for m in found for name in (m.name, f"{m.under}{m.measure}{m.group}")}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", str(name)).lower()

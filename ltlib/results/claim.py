"""Is a claim about two methods supported? ``python -m ltlib claim "mislas > crt on ece, cifar10 if100"``.

The claim is tested over the seeds that both methods share, within each study and among the reader's own runs. The
verdict comes with Student's interval for the mean paired difference, with the number of seeds that the observed spread
would need, and with the sentence that one may write.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from ltlib.errors import InputError, nearest
from ltlib.evaluation.spread import Interval, paired
from ltlib.results import measures, records
from ltlib.results.measures import Metric
from ltlib.results.record import Record, label_of
from ltlib.results.table import Row, table

FORM = re.compile(
    r"\s*(?P<better>.+?)\s*>\s*(?P<worse>.+?)\s+on\s+(?P<metric>[^,]+?)\s*(,(?P<data>.+))?", re.IGNORECASE
)
LOWER_IS_BETTER = ("ece", "mce", "adaptive_ece", "classwise_ece", "confidence_gap", "nll", "brier")
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Claim:
    """``better > worse on metric``, perhaps on some data only.

    Attributes:
        better, worse: labels of tables, or names of methods.
        metric: what they are compared by. Better means higher, and lower for an error.
        dataset, imbalance: of the records to look at; "" takes all.
    """

    better: str
    worse: str
    metric: Metric
    dataset: str = ""
    imbalance: str = ""

    @property
    def sign(self) -> int:
        """1 if a higher value is better, -1 if a lower one is."""
        return -1 if self.metric.measure in LOWER_IS_BETTER else 1


@dataclass(frozen=True)
class Verdict:
    """What the seeds of one study say.

    Attributes:
        better, worse: the two rows of the table.
        difference: of ``better`` minus ``worse``, paired over the seeds that both have.
        supported: the interval has the claimed sign throughout. None if one seed alone can be compared.
        seeds_needed: so many seeds would separate the two if their spread stays as it is. None if it is not known, or
            if the difference points the other way.
    """

    claim: Claim
    better: Row
    worse: Row
    difference: Interval
    supported: bool | None
    seeds_needed: int | None

    @property
    def sentence(self) -> str:
        """What one may write."""
        first, show = self.better.first, self._points
        size = f"{first.recipe['backbone']}, {first.recipe['epochs']} epochs"
        where = f"On {first.data['name']} (IF {first.imbalance}, {size})"
        pair = f"{self.better.label} and {self.worse.label}"
        name, d = self.claim.metric.name, self.difference
        if self.supported is None:
            return f"{where}, one seed of {pair} differs by {show(d.mean)} in {name}. One seed supports no claim."
        spread = f"{show(d.mean)}, 95 % interval {show(d.low)} to {show(d.high)}, {d.n} seeds"
        if self.supported:
            word = "lower" if self.claim.sign < 0 else "higher"
            return f"{where}, {self.better.label} has {word} {name} than {self.worse.label} ({spread})."
        if d.holds_zero:
            return f"{where}, {d.n} seeds do not separate {pair} in {name} ({spread})."
        return (
            f"{where}, the opposite holds: {self.worse.label} is better than {self.better.label} in {name} ({spread})."
        )

    def _points(self, value: float | None) -> str:
        if value is None:
            return "unknown"
        return f"{100 * value:+.1f} points" if self.claim.metric.is_share else f"{value:+.3f}"


def read(text: str) -> Claim:
    """A claim from its text.

    Raises:
        InputError: it has another form, or the metric is not known.
    """
    found = FORM.fullmatch(text)
    if not found:
        raise InputError(
            f"A claim reads 'BETTER > WORSE on METRIC, DATA ifN', such as 'mislas > crt on ece, cifar10 if100', where "
            f"> means better also if that is the smaller number; got {text!r}."
        )
    dataset, imbalance = "", ""
    for word in (found["data"] or "").split():
        factor = re.fullmatch(r"if(\d+(?:\.\d+)?)", word, re.IGNORECASE)
        if factor:
            imbalance = f"{float(factor[1]):g}"
        else:
            dataset = word
    return Claim(found["better"], found["worse"], measures.metric(found["metric"]), dataset, imbalance)


def verdicts(claim: Claim, among: Sequence[Record] | None = None) -> list[Verdict]:
    """One verdict per study in which both methods were trained with at least one common seed.

    Args:
        claim: of :func:`read`.
        among: records, by default the stored studies and the reader's own runs.

    Raises:
        InputError: a method or the data are not known, or no study has both.
    """
    found = records.only(list(among) if among is not None else records.measured(), claim.dataset)
    found = [r for r in found if not claim.imbalance or r.imbalance == claim.imbalance]
    sides = [table(_called(name, found), [claim.metric.name]) for name in (claim.better, claim.worse)]
    pairs = [(b, w) for b in sides[0] for w in sides[1] if _comparable(b, w)]
    made = [verdict(claim, b, w) for b, w in pairs if set(b.seeds) & set(w.seeds)]
    if not made:
        raise InputError(
            f"No study holds {claim.better} and {claim.worse} with {claim.metric.name} on the same data and a common "
            f"seed: train both with --seeds 0,1,2 and ask again."
        )
    return made


def _called(name: str, among: list[Record]) -> list[Record]:
    """The records with this label, or of this method with its published settings, or else of all its variants.

    Raises:
        InputError: there are none.
    """
    for found in (
        [r for r in among if r.label == name],
        [r for r in among if r.method == name and r.label == label_of(name)],
        [r for r in among if r.method == name],
    ):
        if found:
            return found
    known = {spelling for r in among for spelling in (r.label, r.method)}
    raise InputError(f"No result on these data is called {name!r}.{nearest(name, known)}")


def _comparable(one: Row, other: Row) -> bool:
    """Whether two rows are of one study, and of the same images, sizes and attack."""
    a, b = one.first, other.first
    same = ("study", "imbalance")
    return (
        all(getattr(a, name) == getattr(b, name) for name in same)
        and a.data["fingerprint"] == b.data["fingerprint"]
        and one.attack == other.attack
        and one.label != other.label
    )


def verdict(claim: Claim, better: Row, worse: Row) -> Verdict:
    """The verdict over the seeds that two rows share."""
    mine, theirs = (dict(zip(row.seeds, row.values, strict=True)) for row in (better, worse))
    seeds = sorted(mine.keys() & theirs.keys())
    difference = paired([mine[s] for s in seeds], [theirs[s] for s in seeds])
    if difference.sd is None:
        return Verdict(claim, better, worse, difference, None, None)
    claimed = claim.sign * difference.mean > 0
    supported = claimed and not difference.holds_zero
    needed = seeds_needed(abs(difference.mean), difference.sd) if claimed else None
    return Verdict(claim, better, worse, difference, supported, needed)


def seeds_needed(difference: float, sd: float) -> int | None:
    """The smallest n with t(0.975, n - 1) sd / sqrt(n) < difference; None above 1,000.

    Args:
        difference: the mean paired difference, above 0.
        sd: of the paired differences.
    """
    for n in range(2, MOST_SEEDS + 1):
        if stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n) < difference:
            return n
    return None


def as_lines(made: Sequence[Verdict]) -> list[str]:
    """The verdicts, for the terminal."""
    lines = []
    for one in made:
        word = {True: "supported", False: "not supported", None: "cannot be judged"}[one.supported]
        lines += [f"{one.better.first.study}: {word}", f"  {one.sentence}"]
        if not one.supported and one.seeds_needed:
            lines.append(f"  At this spread, {one.seeds_needed} seeds would separate them.")
        elif one.supported is False:
            lines.append("  More seeds will not support the claim unless the difference itself changes.")
    return lines

"""A card is made of a method's own file and the stored numbers, so every method has one, a new one too."""

from __future__ import annotations

import pytest
from torch import Tensor
from torch.nn import functional as F

from ltlib.errors import InputError
from ltlib.methods import METHODS
from ltlib.methods.method import Method
from ltlib.results import cards, records


@pytest.fixture(scope="module")
def stored():
    return records.measured(records.names())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_card_that_says_what_it_is(name, stored):
    found = cards.card(name, stored)
    assert len(" ".join(found.idea)) > 40
    assert any(source.startswith("def loss") for _, source in found.code)
    text = cards.as_markdown(found)
    assert text.startswith(f"# {METHODS[name].label}\n")
    assert ":meth:" not in text
    assert f"`--method {name}`" in text


def test_the_numbers_are_those_of_the_tables(stored):
    found = cards.card("mislas", stored)
    row = next(r for r in found.ours if r.first.study == "ladder_glyphs" and r.metric.name == "ECE")
    values = [r.metrics["ece"] for r in stored if r.study == "ladder_glyphs" and r.label == "MiSLAS"]
    assert row.mean == pytest.approx(sum(values) / 3)
    assert f"| ladder_glyphs | glyphs | 100 | ECE | {row.mean:.1%} |" in cards.as_markdown(found)
    assert [line.value for line in found.theirs if line.dataset == "CIFAR-100-LT" and line.imbalance_factor == 100]


def test_equations_and_papers_come_from_the_code():
    found = cards.card("reslt", [])
    assert "L = beta L_ind + (1 - beta) L_fus" in found.equations
    assert "https://arxiv.org/abs/2101.10633" in found.reading
    assert any(name.endswith("specialisation") for name, _ in found.code)


def test_a_new_method_has_a_card_by_being_registered(monkeypatch):
    class Halved(Method):
        """Half of cross-entropy, invented for this test (arXiv 1234.56789).

        Paper against code:
            - The paper has a third where the code has a half.
        """

        label = "halved"

        def loss(self, batch) -> Tensor:
            # L = CE(z, y) / 2
            return F.cross_entropy(self.network(batch.x), batch.y) / 2

    monkeypatch.setitem(METHODS, "halved", Halved)
    found = cards.card("halved", [])
    assert found.equations == ("L = CE(z, y) / 2",)
    assert found.differences == ("The paper has a third where the code has a half.",)
    assert found.reading == ("https://arxiv.org/abs/1234.56789",)
    assert "No stored study has measured it yet." in cards.as_markdown(found)


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="Did you mean 'mislas'"):
        cards.card("mislass", [])


@pytest.mark.parametrize("name", METHODS)
def test_what_paper_and_code_do_differently_is_told_once(name):
    assert (METHODS[name].__doc__ or "").count("Paper against code:") <= 1

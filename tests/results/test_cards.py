"""A card is made of a method's own file and the stored numbers, so every method has one, a new one too."""

from __future__ import annotations

import re

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
    assert "arguments are many" not in " ".join(found.idea)
    equations = text.partition("```text\n")[2].partition("```")[0].splitlines()
    assert max(map(len, equations)) <= 100, "a page of the book cuts longer lines"
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


def test_the_card_of_mislas_has_the_loss_of_stage_2_and_its_factors():
    found = cards.card("mislas", [])
    assert "(1 - eps_y) (-log p_y) + eps_y * mean(-log p_i)" in found.equations
    assert "eps_y = tail + (head - tail) sin(pi u / 2)" in found.equations
    assert "smoothing              eps_y = tail" in cards.as_markdown(found)


def test_an_extended_function_comes_before_its_extension():
    mse, natural = (
        cards.card("lbgat", []).equations.index(e)
        for e in ("L = MSE(R(x_adv), T(x)) + alpha KL(p_clean || p_adv)", "... + CE(T(x) + natural_tau log n, y)")
    )
    assert mse < natural


WORDS = {"a", "al", "as", "at", "by", "eq", "et", "if", "in", "is", "it", "of", "on", "pi", "so", "to"}
GREEK = {"alpha", "beta", "gamma", "delta", "tau", "lambda", "eps"}


@pytest.mark.parametrize("name", METHODS)
def test_every_symbol_of_an_equation_is_explained(name):
    found = cards.card(name, [])
    assert found.equations
    names = {part for names in found.symbols for part in names.split(", ")}
    text = " ".join([*found.symbols, *found.symbols.values()])
    defined = " ".join(line.partition(" = ")[0] for line in found.equations if " = " in line)
    known = set(cards.SYMBOL.findall(f"{text} {defined}"))
    formulas = re.sub(r"``\w+``|'s|\([A-Z](, [A-Z])*,?\)", "", " ".join(found.equations))  # no settings, no shapes
    for symbol in cards.SYMBOL.findall(formulas):
        head, _, index = symbol.partition("_")
        if head not in WORDS and (len(head) <= 2 or head in GREEK or len(index) > 1):
            assert symbol in known or head in names or f"{head}_k" in names, symbol


def test_only_functions_of_the_methods_are_shown():
    for name in METHODS:
        assert all(place.startswith("ltlib.methods") for place, _ in cards.card(name, []).code)


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_says_what_it_means(name):
    found = cards.card(name, [])
    assert set(found.settings) <= set(found.meanings)


@pytest.mark.parametrize("spelling", ["MiSLAS", "mislas", "MISLAS"])
def test_a_method_is_found_in_any_spelling(spelling):
    assert cards.card(spelling, []).name == "mislas"


@pytest.mark.parametrize(
    ("spelling", "name"), [("cRT", "crt"), ("LBGAT0", "lbgat"), ("AT-BSL", "at_bsl"), ("trades 6", "trades")]
)
def test_a_method_is_found_by_its_label(spelling, name):
    assert cards.card(spelling, []).name == name


def test_a_number_that_several_sources_give_is_one_row():
    text = cards.as_markdown(cards.card("mislas", []))
    lines = [line for line in text.splitlines() if "| CIFAR-100-LT | 100 |" in line]
    assert [line.split(" | ")[4:6] for line in lines] == [["accuracy", "47.0%"], ["ECE", "4.8%"]]
    assert lines[0].count("MiSLAS README") == 1
    assert lines[0].count("MiSLAS paper table") == 1
    assert "Table 4" in lines[0]


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

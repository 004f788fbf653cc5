"""The reference runs that stand in the repository: whole, in order, and what lessons say of them in words.

The numbers that lessons quote from them are looked up by ``tests/notebooks/test_quoted_numbers.py``.
"""

import numpy as np
import pytest
import torch

import ltlib
from ltlib.data.augment import to_float
from ltlib.data.excerpt import excerpt
from ltlib.results import networks, records
from ltlib.results.views import robust_summary, summary

STUDIES = records.names()


@pytest.mark.parametrize("study", STUDIES)
def test_every_record_tells_where_its_numbers_come_from(study):
    files = list((records.studies() / study).glob("*.json"))
    found = records.read(study, say=lambda line: pytest.fail(line))
    assert sorted(record.file for record in found) == sorted(files)
    for record in found:
        for name in ("command", "data", "hardware", "versions", "revision", "weights_sha256"):
            assert getattr(record, name), (record.id, name)
        for report in record.robust:
            assert report.told["run"] == record.id
            assert report.reliable is all(check["passed"] for check in report.checks)
            assert report.robust_accuracy <= report.clean_accuracy


@pytest.mark.parametrize("study", STUDIES)
def test_the_order_names_every_row_and_no_other(study):
    order = (records.studies() / study / "order.txt").read_text().splitlines()
    assert order == list(records.by_label(records.read(study)))


def test_what_lesson_03_says_of_real_images():
    rows = {row["label"]: row for row in summary(records.read("mislas_cifar10_exact"))}
    plain, mislas, unsmoothed = rows["cross-entropy"], rows["MiSLAS"], rows["MiSLAS without smoothing"]
    assert mislas["accuracy"] == max(row["accuracy"] for row in rows.values())
    assert mislas["few"] / plain["few"] == pytest.approx(6, abs=0.1)  # "six times as many images of the tail"
    assert mislas["ECE"] < plain["ECE"] / 3
    assert mislas["ECE"] < unsmoothed["ECE"] / 2
    assert mislas["few"] > unsmoothed["few"]
    assert rows["mixup"]["accuracy"] < plain["accuracy"]
    assert rows["cRT + mixup"]["accuracy"] > rows["cRT"]["accuracy"]
    shifted, fixed = rows["LWS + mixup + shifted BN"], rows["LWS + mixup"]
    assert shifted["ECE"] < fixed["ECE"]
    assert shifted["accuracy"] < fixed["accuracy"]
    for before, after in (("cross-entropy", "mixup"), ("MiSLAS without smoothing", "MiSLAS")):  # "each about half"
        assert rows[after]["ECE"] / rows[before]["ECE"] == pytest.approx(0.5, abs=0.1)


def test_what_lesson_04_says_of_real_images():
    rows = {row["label"]: row for row in summary(records.read("reslt_cifar10_exact"))}
    assert all(row["n"] == 3 for row in rows.values())
    reslt, plain = rows["ResLT"], rows["cross-entropy"]
    assert reslt["accuracy"] > plain["accuracy"] + 0.03
    assert reslt["few"] > plain["few"] + 0.08
    assert rows["trivial branches"]["accuracy"] < plain["accuracy"] < reslt["accuracy"]
    betas = [rows[label]["accuracy"] for label in rows if label.startswith("ResLT, beta")] + [reslt["accuracy"]]
    assert betas == sorted(betas)


def test_what_lesson_06_says_of_the_letters():
    """LBGAT with the label: at least 2 points more clean accuracy than AT and TRADES(6), at no less robustness."""
    rows = {row["label"]: row for row in robust_summary(records.read("adversarial_glyphs"), "apgd", 8 / 255)}
    guided = rows["LBGAT0 + CE"]
    for label in ("AT", "TRADES 6"):
        assert rows[label]["n"] == guided["n"] == 3
        assert guided["clean"] > rows[label]["clean"] + 0.02
        assert guided["robust"] > rows[label]["robust"] - 0.01
    assert all(row["reliable"] == row["n"] for row in rows.values())


def test_our_ensemble_and_the_official_autoattack_agree():
    """Lesson 05: within a point, on the networks that both attacked."""
    pairs = []
    for record in records.read("adversarial_glyphs"):
        found = {report.attack: report.robust_accuracy for report in record.robust}
        if "official" in found:
            pairs.append((found["official"], found["ensemble"]))
    assert len(pairs) == 3
    assert all(abs(official - ours) <= 0.01 for official, ours in pairs)


@pytest.mark.parametrize("name", [name for name in networks.names() if name.startswith("cifar10_lt_paper/")])
def test_a_stored_network_gives_the_logits_of_its_record(name):
    """On the photographs that travel with the project, whose places in the test set are known."""
    method, record = networks.opened(name)
    shown = excerpt()
    with torch.inference_mode():
        logits = method.logits(to_float(torch.from_numpy(shown.images.pixels))).float().numpy()
    stored = record.predictions["test"]["logits"][shown.indices].astype(np.float32)
    shifted = logits - logits.max(axis=1, keepdims=True)  # as they are stored
    np.testing.assert_allclose(shifted, stored, rtol=2e-3, atol=2e-2)  # float16 has 11 bits
    assert type(ltlib.load(name)) is type(method)

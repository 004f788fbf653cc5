"""Several processes, one run: two ranks over gloo on this machine, and the parts that need no process."""

import json

import pytest
import torch

from ltlib import distributed, methods
from ltlib.data.loader import Loader
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import predict
from ltlib.methods.baselines import CrossEntropy
from ltlib.training.engine import Engine, Options
from tests.reliability.ranks import run_ranks
from tests.training.small import small
from tests.training.test_engine import engine, fit

# 60 images in batches of 13: one rank has 7 of them, the other 6, and so uneven shares of every mean.
OPTIONS = Options(epochs=2, batch_size=13, augmentation="none", precision="float32")
METHODS = [name for name in methods.METHODS if "natural_run" not in methods.METHODS[name].sources]


class FrozenStatistics(CrossEntropy):
    """Cross-entropy whose BatchNorm uses its running statistics: the one layer that looks at the rest of a batch."""

    def train(self, mode=True):
        super().train(mode)
        self.network.backbone.eval()
        return self


def two_steps(folder):
    """What every rank does in the tests below; it writes what it found."""
    with distributed.process_group(torch.device("cpu")):
        found = {"rank": distributed.rank()}
        e = fit(engine(FrozenStatistics, OPTIONS), folder / "frozen.pt")
        found["history"] = [record["loss"] for record in e.history]
        torch.save(e.method.state_dict(), folder / f"frozen{distributed.rank()}.pt")
        x, _ = e.evaluate["test"]
        torch.save(predict(e.method, x), folder / f"logits{distributed.rank()}.pt")
        with distributed.own_random_numbers(torch.device("cpu"), 0):
            found["inside"] = torch.rand(()).item()
        found["after"] = torch.rand(()).item()
        found["told"] = distributed.from_first(lambda: f"by {distributed.rank()}")
        try:
            distributed.from_first(lambda: (_ for _ in ()).throw(InputError("no such file")))
        except InputError as error:
            found["error"] = str(error)
        found["states"] = {}
        for name in METHODS:
            e = engine(small(name), Options(epochs=1, batch_size=15, augmentation="crop", precision="float32"))
            for stage in range(len(e.stages)):
                e._begin(stage)
                e._train_epoch()
            state = [value.double().sum().item() for value in e.method.state_dict().values()]
            found["states"][name] = [*state, torch.rand(()).item()]
        (folder / f"found{distributed.rank()}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The folder in which two ranks left what they found."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(two_steps, folder)
    return folder


@pytest.fixture
def found(ranks):
    return [json.loads((ranks / f"found{r}.json").read_text()) for r in (0, 1)]


def test_two_ranks_with_half_a_batch_each_equal_one_with_all(ranks, found, tmp_path):
    """The sums run in another order: weights agree to float32 rounding after two epochs of five steps."""
    alone = fit(engine(FrozenStatistics, OPTIONS), tmp_path / "alone.pt")
    for rank in (0, 1):
        together = torch.load(ranks / f"frozen{rank}.pt")
        for name, expected in alone.method.state_dict().items():
            torch.testing.assert_close(together[name], expected, rtol=1e-4, atol=1e-6)
        assert found[rank]["history"] == pytest.approx([record["loss"] for record in alone.history], rel=1e-5)


def test_all_ranks_get_all_logits_in_order(ranks, tmp_path):
    first, second = (torch.load(ranks / f"logits{r}.pt") for r in (0, 1))
    assert torch.equal(first, second)
    e = engine(FrozenStatistics, OPTIONS)
    e.method.load_state_dict(torch.load(ranks / "frozen0.pt"))
    torch.testing.assert_close(first, predict(e.method, e.evaluate["test"][0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_after_an_epoch_of_any_method_the_ranks_agree(found, name):
    """Weights, running statistics, counters, and what the generator draws next."""
    assert found[0]["states"][name] == found[1]["states"][name]


def test_random_numbers_differ_inside_an_epoch_and_agree_after_it(found):
    assert found[0]["inside"] != found[1]["inside"]
    assert found[0]["after"] == found[1]["after"]


def test_what_the_first_rank_read_or_failed_to_read_reaches_the_other(found):
    assert [f["told"] for f in found] == ["by 0", "by 0"]
    assert [f["error"] for f in found] == ["no such file", "no such file"]


@pytest.mark.parametrize("sampler", ["instance_balanced", "class_balanced", "class_balanced_cyclic", "square_root"])
def test_the_shares_of_a_sampler_are_together_its_batches(monkeypatch, sampler):
    """So class balance is exactly that of one process."""
    data = engine().train

    def batches(world, rank):
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("RANK", str(rank))
        torch.manual_seed(1)
        loader = Loader(*data, sampler=sampler, epochs=2, batch_size=14, augmentation="none")
        return [batch.y.tolist() for batch in loader.epoch(0)]

    whole, shares = batches(1, 0), [batches(3, r) for r in range(3)]
    for step, y in enumerate(whole):
        parts = [share[step] for share in shares]
        assert [parts[i % 3][i // 3] for i in range(len(y))] == y


def test_the_mean_of_uneven_shares_is_the_mean_of_the_batch(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    values = torch.tensor([5.0, 1.0, 2.0, 7.0])
    for images in (1, 2, 4):
        total = 0.0
        for rank in range(3):
            monkeypatch.setenv("RANK", str(rank))
            total += distributed.share_of(images) * values[distributed.part(torch.arange(images))].mean()
        assert total / 3 == pytest.approx(values[:images].mean())


def test_an_option_that_needs_gpus_says_so():
    train = torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2] * 2)
    with pytest.raises(InputError, match="sync_bn=true needs GPUs"):
        Engine(engine().method, train, Options(sync_bn=True), {})


@pytest.mark.parametrize("text", ["soon", "0", "-3"])
def test_a_timeout_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LTLIB_TIMEOUT", text)
    with pytest.raises(InputError, match="LTLIB_TIMEOUT must be a whole number"), distributed.process_group("cpu"):
        pass


def test_one_process_joins_nothing(monkeypatch):
    monkeypatch.setenv("LTLIB_TIMEOUT", "not read")
    with distributed.process_group(torch.device("cpu")):
        assert not torch.distributed.is_initialized()

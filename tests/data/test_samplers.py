import pytest
import torch

from ltlib.data import samplers
from ltlib.errors import InputError

COUNTS = torch.tensor([1000, 200, 40, 10])
LABELS = torch.repeat_interleave(torch.arange(4), COUNTS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def share(sampler, epochs=range(40)) -> torch.Tensor:
    """Measured share of each class in what the network sees."""
    seen = torch.cat([LABELS[sampler.draw(e)] for e in epochs])
    return torch.bincount(seen, minlength=4) / len(seen)


def test_instance_balanced_shows_every_image_once_in_another_order():
    sampler = samplers.make("instance_balanced", LABELS, 2)
    first, second = sampler.draw(0), sampler.draw(1)
    assert sorted(first.tolist()) == list(range(len(LABELS)))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("name", "power"), [("class_balanced", 0.0), ("square_root", 0.5)])
def test_class_shares_follow_n_to_the_q(name, power):
    expected = COUNTS.double() ** power / (COUNTS.double() ** power).sum()
    # 50,000 draws: the standard error of a share is below 0.0023.
    assert share(samplers.make(name, LABELS, 40)).numpy() == pytest.approx(expected.numpy(), abs=0.008)


def test_weighted_draws_are_uniform_within_a_class():
    sampler = samplers.make("class_balanced", LABELS, 40)
    seen = torch.cat([sampler.draw(e) for e in range(40)])
    tail = torch.bincount(seen, minlength=len(LABELS))[LABELS == 3].float()
    assert tail.min() > 0.8 * tail.mean()
    assert tail.max() < 1.2 * tail.mean()


def test_progressive_sampling_moves_from_instance_to_class_balanced():
    sampler = samplers.make("progressively_balanced", LABELS, epochs=11)
    instance, balanced = COUNTS.double() / COUNTS.sum(), torch.full((4,), 0.25, dtype=torch.double)
    for epoch, weight in ((0, 0.0), (5, 0.5), (10, 1.0)):
        expected = (1 - weight) * instance + weight * balanced
        torch.testing.assert_close(sampler.class_probabilities(epoch), expected)
    assert share(sampler, epochs=[0] * 20).numpy() == pytest.approx(instance.numpy(), abs=0.01)
    assert share(sampler, epochs=[10] * 20).numpy() == pytest.approx(balanced.numpy(), abs=0.01)


def test_cyclic_sampler_takes_four_of_a_class_and_no_image_twice_before_all_were_seen():
    sampler = samplers.make("class_balanced_cyclic", LABELS, 3)
    epochs = [sampler.draw(e) for e in range(3)]
    stream = torch.cat(epochs)
    runs = LABELS[epochs[0]][: 4 * 312].view(-1, 4)
    assert (runs == runs[:, :1]).all()
    # The cycle of classes: every four draws from the start hold all four classes.
    assert (runs[:, 0].view(-1, 4).sort(dim=1).values == torch.arange(4)).all()
    head = stream[LABELS[stream] == 0]
    assert len(head) < 1000
    assert len(head.unique()) == len(head)


def test_cyclic_sampler_goes_on_where_its_state_was_taken():
    one = samplers.make("class_balanced_cyclic", LABELS, 3)
    one.draw(0)
    state, generator = one.state_dict(), torch.get_rng_state()
    expected = [one.draw(1), one.draw(2)]
    other = samplers.make("class_balanced_cyclic", LABELS, 3)
    other.load_state_dict(state)
    torch.set_rng_state(generator)
    assert all(torch.equal(a, other.draw(e)) for e, a in enumerate(expected, 1))


def test_classes_without_images_are_never_drawn():
    labels = torch.tensor([0, 0, 2])
    for name in samplers.SAMPLERS:
        drawn = samplers.make(name, labels, 1).draw(0)
        assert set(labels[drawn].tolist()) <= {0, 2}, name


def test_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="Did you mean 'class_balanced'"):
        samplers.make("class_balance", LABELS, 1)

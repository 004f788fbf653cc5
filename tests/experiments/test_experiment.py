import re

import pytest

from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import Recipe, parse_overrides, resolve, with_method

BAD = [
    ({"method": "balanced-softmax"}, "method 'balanced-softmax' is not known. Did you mean 'balanced_softmax'"),
    ({"method": ""}, "method '' is not known"),
    ({"method": 3}, "method must be a text; got 3"),
    ({"dataset": "cifar-10"}, "Did you mean 'cifar10'"),
    ({"dataset": "imagenet"}, "dataset 'imagenet' is not known"),
    ({"dataset": None}, "dataset must be a text; got None"),
    ({"profile": "full"}, "Allowed: lesson, paper, smoke"),
    ({"profile": "Lesson"}, "Did you mean 'lesson'"),
    ({"imbalance_type": "exp"}, "imbalance_type 'exp' is not known"),
    ({"imbalance_type": "steps"}, "Did you mean 'step'"),
    ({"imbalance_factor": 0}, "a number from 1; got 0"),
    ({"imbalance_factor": 0.01}, "a number from 1; got 0.01"),
    ({"imbalance_factor": -100}, "a number from 1; got -100"),
    ({"imbalance_factor": float("nan")}, "a number from 1; got nan"),
    ({"imbalance_factor": float("inf")}, "a number from 1; got inf"),
    ({"imbalance_factor": "many"}, "imbalance_factor must be a number; got 'many'"),
    ({"imbalance_factor": True}, "a number from 1; got True"),
    ({"imbalance_factor": [100]}, r"a number from 1; got [100]"),
    ({"seed": "abc"}, "seed must be a whole number; got 'abc'"),
    ({"seed": "1.5"}, "seed must be a whole number; got '1.5'"),
    ({"seed": 1.5}, "seed must be a whole number from 0; got 1.5"),
    ({"seed": -1}, "seed must be a whole number from 0; got -1"),
    ({"seed": 2**64}, "seed must be a whole number from 0"),
    ({"seed": True}, "got True"),
    ({"seed": None}, "got None"),
    ({"data_dir": 5}, "data_dir must be a text"),
    ({"overrides": {"epochs": 5}}, "overrides must be a text"),
    (
        {"imbalance": 100},
        "'imbalance' is no field of an experiment. Did you mean 'imbalance_type' or 'imbalance_factor'",
    ),
    ({"metod": "mixup"}, "Did you mean 'method'"),
]

BAD_OVERRIDES = [
    ("epochs", "must read 'name=value, name=value'; 'epochs' does not"),
    ("epochs=", "does not"),
    ("=5", "does not"),
    ("epochs=5 lr=1", "epochs must be a whole number; got '5 lr=1'"),
    ("epochs=5, epochs=6", "'epochs' twice"),
    ("epoch=5", "'epoch', which cross_entropy does not have. Did you mean 'epochs'"),
    ("alpha=1", "'alpha', which cross_entropy does not have"),
    ("epochs=0", "epochs must be at least 1; got 0"),
    ("epochs=2.5", "epochs must be a whole number"),
    ("batch_size=1", "batch_size must be at least 2"),
    ("lr=-1", "lr must be at least 0"),
    ("lr=nan", "lr must be at least 0; got nan"),
    ("lr=fast", "lr must be a number"),
    ("momentum=1.5", "momentum must be from 0 to 1"),
    ("weight_decay=-1e-4", "weight_decay must be at least 0"),
    ("nesterov=yes", "nesterov must be true or false"),
    ("schedule=steps", "Did you mean 'step'"),
    ("augmentation=flip", "Did you mean 'crop_flip'"),
    ("precision=half", "precision 'half' is not known"),
    ("backbone=resnet19", "backbone 'resnet19' is not known"),
    ("evaluate_every=0", "evaluate_every must be at least 1"),
    ("validation=0.9", "validation must be from 0 to 0.5"),
    ("n_max=-5", "n_max must be at least 0"),
    ("image_size=99999", "image_size must be from 0 to 1024"),
    ("deterministic=1", "deterministic must be true or false"),
    ("num_classes=1", "num_classes must be at least 2"),
    ("test_per_class=few", "test_per_class must be a whole number"),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_bad_fields_get_one_clear_sentence(fields, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Experiment.parse(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("overrides", "message"), BAD_OVERRIDES)
def test_bad_overrides_get_one_clear_sentence(overrides, message):
    with pytest.raises(InputError, match=re.escape(message)):
        resolve(Experiment(overrides=overrides))


def test_texts_are_read_as_their_fields_types():
    experiment = Experiment.parse(seed="3", imbalance_factor="50", method="mixup")
    assert (experiment.seed, experiment.imbalance_factor) == (3, 50.0)
    assert Experiment.parse(imbalance_factor=50) == Experiment(imbalance_factor=50.0)


def test_paper_profile_is_the_recipe_of_mislas():
    recipe, _ = resolve(Experiment(method="mixup", dataset="cifar10", profile="paper"))
    assert recipe == Recipe(
        backbone="resnet32",
        epochs=200,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        weight_decay=2e-4,
        nesterov=False,
        schedule="step",
        augmentation="crop_flip",
    )


def test_letters_and_digits_are_never_mirrored():
    for dataset in ("glyphs", "digits"):
        assert resolve(Experiment(dataset=dataset))[0].augmentation == "crop"


def test_overrides_reach_recipe_and_method():
    experiment = Experiment(method="logit_adjustment", overrides="epochs=7, lr=5e-2, tau=2, form=loss, nesterov=true")
    recipe, own = resolve(experiment)
    assert (recipe.epochs, recipe.lr, recipe.nesterov) == (7, 0.05, True)
    assert own == {"tau": 2.0, "form": "loss"}


def test_parse_overrides_ignores_space():
    assert parse_overrides(" a = 1 ,b=2, ") == {"a": "1", "b": "2"}


def test_baseline_keeps_what_every_method_understands():
    experiment = Experiment(method="mixup", overrides="alpha=0.2, epochs=3", seed=4)
    baseline = with_method(experiment, "cross_entropy")
    assert baseline == Experiment(method="cross_entropy", overrides="epochs=3", seed=4)
    assert with_method(experiment, "mixup") is experiment

"""Files in the authors' name scheme, computed by their names alone, against the runs that are made of them.

The names are those of MiSLAS 0fc381e, ResLT 9650d93, LBGAT f7f33f0, TRADES 6e8e11b and classifier-balancing f162ade.
"""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save as to_safetensors

from ltlib import models
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.imported import import_run
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.methods import METHODS
from ltlib.results import float16

K = 10


def norm(name, channels):
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": torch.randn(channels),
        f"{name}.running_mean": torch.randn(channels),
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def conv(name, channels_in, channels, kernel=3):
    return {f"{name}.weight": torch.randn(channels, channels_in, kernel, kernel) / (channels_in * kernel**2) ** 0.5}


def linear(name, features=64):
    return {f"{name}.weight": torch.randn(K, features) / 8, f"{name}.bias": torch.randn(K)}


def resnet8():
    """ResNet_fe of MiSLAS with one block per stage."""
    found = conv("conv1", 3, 16) | norm("bn1", 16)
    for stage, (before, channels) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
        block = f"layer{stage}.0"
        found |= conv(f"{block}.conv1", before, channels) | norm(f"{block}.bn1", channels)
        found |= conv(f"{block}.conv2", channels, channels) | norm(f"{block}.bn2", channels)
    return found


def wrn10_2(classes=True):
    """WideResNet(10, widen_factor=2) of TRADES and LBGAT, with the copy of the first block that nothing uses."""
    found = conv("conv1", 3, 16) | norm("bn1", 128) | linear("fc", 128)
    blocks = {"block1": (16, 32), "sub_block1": (16, 32), "block2": (32, 64), "block3": (64, 128)}
    for name, (before, channels) in blocks.items():
        block = f"{name}.layer.0"
        found |= norm(f"{block}.bn1", before) | conv(f"{block}.conv1", before, channels)
        found |= norm(f"{block}.bn2", channels) | conv(f"{block}.conv2", channels, channels)
        found |= conv(f"{block}.convShortcut", before, channels, 1)
    return found


def bn(x, w, name):
    return F.batch_norm(x, *(w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))


def resnet8_maps(x, w):
    x = F.relu(bn(F.conv2d(x, w["conv1.weight"], padding=1), w, "bn1"))
    for stage in (1, 2, 3):
        name, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        z = F.relu(bn(F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1), w, f"{name}.bn1"))
        z = bn(F.conv2d(z, w[f"{name}.conv2.weight"], padding=1), w, f"{name}.bn2")
        if stage > 1:
            pad = x.shape[1] // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
        x = F.relu(x + z)
    return x


def wrn_logits(x, w):
    x = F.conv2d(x, w["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        name, stride = f"block{stage}.layer.0", 1 if stage == 1 else 2
        a = F.relu(bn(x, w, f"{name}.bn1"))
        z = F.relu(bn(F.conv2d(a, w[f"{name}.conv1.weight"], stride=stride, padding=1), w, f"{name}.bn2"))
        x = F.conv2d(z, w[f"{name}.conv2.weight"], padding=1)
        x = x + F.conv2d(a, w[f"{name}.convShortcut.weight"], stride=stride)
    return classified(F.relu(bn(x, w, "bn1")).mean((2, 3)), w, "fc")


def classified(features, w, name):
    return F.linear(features, w[f"{name}.weight"], w[f"{name}.bias"])


def experiment(method, overrides=""):
    return Experiment(method, "glyphs", profile="smoke", overrides=overrides)


@pytest.fixture
def images():
    """Test images as the authors' networks see them: normalised, and as they are."""
    e = experiment("mislas")
    data = prepare(e, resolve(e)[0])
    x = torch.from_numpy(np.asarray(data.test.pixels)) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    return (x - mean) / std, x


def wrapped(weights):
    """As nn.DataParallel names them."""
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def saved(path, content, **options):
    torch.manual_seed(0)
    torch.save(content, path, **options)
    return path


def mislas_file(path, scale=True, **options):
    torch.manual_seed(1)
    model, classifier, s = resnet8(), linear("fc"), {"learned_norm": torch.rand(1, K) + 0.5}
    content = {"epoch": 10, "state_dict_model": wrapped(model), "state_dict_classifier": wrapped(classifier)}
    content |= {"state_dict_lws_model": wrapped(s)} if scale else {}
    content |= {"best_acc1": torch.tensor(47.0), "its_ece": np.float64(4.83)}
    return saved(path, content, **options), model | classifier | s


@pytest.mark.parametrize("legacy", [False, True])
def test_stage_2_of_mislas(tmp_path, images, legacy):
    """The files of 2021 are of torch 1.2, before its zip format."""
    file, w = mislas_file(tmp_path / "a.pth.tar", _use_new_zipfile_serialization=not legacy)
    run = import_run(file, experiment("mislas"))
    z = w["learned_norm"] * classified(resnet8_maps(images[0], w).mean((2, 3)), w, "fc")
    np.testing.assert_allclose(run.predictions()["logits"], z.numpy(), atol=1e-3, rtol=1e-3)
    assert run.state == "finished"
    told = run.info
    assert told["imported"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert told["imported"] == told["imported"] | {"file": "a.pth.tar", "not_in_file": []}
    assert told["command"].startswith("python -m ltlib import a.pth.tar --method mislas")
    correct = (z.argmax(1).numpy() == run.predictions()["labels"]).mean()
    assert told["metrics"]["accuracy"] == pytest.approx(correct)
    torch.testing.assert_close(load(run).scale, w["learned_norm"][0])
    assert import_run(file, experiment("mislas")).id == run.id
    with pytest.raises(InputError, match="belongs to stage 2: leave --stage 1 out"):
        import_run(file, experiment("mislas"), stage="1")


def test_stage_1_of_mislas_is_a_run_of_mixup_from_which_a_second_stage_starts(tmp_path, images):
    file, w = mislas_file(tmp_path / "a.pth", scale=False)
    run = import_run(file, experiment("mislas"), stage="1")
    assert run.info["experiment"]["method"] == "mixup"
    z = classified(resnet8_maps(images[0], w).mean((2, 3)), w, "fc")
    np.testing.assert_allclose(run.predictions()["logits"], z.numpy(), atol=1e-3, rtol=1e-3)
    second = execute(experiment("lws", f"stage1={run.id}"))
    torch.testing.assert_close(load(second).network.backbone.stem[0].weight, w["conv1.weight"])
    with pytest.raises(InputError, match="not stage 2 of mislas"):
        import_run(file, experiment("mislas"), stage="2")


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_files_of_kang_et_al(tmp_path, images, method):
    torch.manual_seed(2)
    model, classifier, scales = resnet8(), linear("fc"), {"scales": torch.rand(K) + 0.5}
    last = classifier | (scales if method == "lws" else {})
    best = {"feat_model": wrapped(model), "classifier": wrapped(last)}
    run = import_run(saved(tmp_path / "a.pth", {"state_dict_best": best, "centroids": None}), experiment(method))
    z = classified(resnet8_maps(images[0], model).mean((2, 3)), classifier, "fc")
    z = z * scales["scales"] if method == "lws" else z
    np.testing.assert_allclose(run.predictions()["logits"], z.numpy(), atol=1e-3, rtol=1e-3)
    assert run.info["imported"]["not_in_file"] == ([] if method == "lws" else ["scale"])


@pytest.mark.parametrize("class_order", ["descending", "ascending"])
def test_reslt_in_both_orders_of_the_classes(tmp_path, images, class_order):
    torch.manual_seed(3)
    model, w = resnet8(), linear("linear") | norm("BNH", 64) | norm("BNM", 64) | norm("BNT", 64)
    file = saved(tmp_path / "a.pth", wrapped({f"model.{n}": t for n, t in model.items()} | w))
    run = import_run(file, experiment("reslt", "groups=paper"), class_order=class_order)
    maps = resnet8_maps(images[0], model)
    z = sum(classified(bn(maps, w, name).mean((2, 3)), w, "linear") for name in ("BNH", "BNM", "BNT"))
    z = z.flip(1) if class_order == "ascending" else z
    for branch, theirs in zip(
        load(run).branches.norms, ("BNH", "BNM", "BNT"), strict=True
    ):  # the sum hides their order
        torch.testing.assert_close(branch.weight, w[f"{theirs}.weight"])
    np.testing.assert_allclose(run.predictions()["logits"], z.numpy(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("method", "wrap"), [("trades", False), ("lbgat", True)])
def test_wide_networks_of_trades_and_lbgat(tmp_path, images, method, wrap):
    torch.manual_seed(4)
    w = wrn10_2()
    file = saved(tmp_path / "a.pt", wrapped(w) if wrap else w)
    run = import_run(file, experiment(method, "backbone=wrn10_2, normalize=false"))
    np.testing.assert_allclose(run.predictions()["logits"], wrn_logits(images[1], w).numpy(), atol=1e-3, rtol=1e-3)
    assert run.info["imported"]["not_in_file"] == (["natural"] if method == "lbgat" else [])


def test_names_of_the_deeper_networks():
    """Which of several blocks a name belongs to, by the networks of the papers."""
    with torch.device("meta"):
        wide, large = models.BACKBONES["wrn34_10"](), models.make("resnet50", 4, (0,) * 3, (1,) * 3, True).backbone
        natural = models.BACKBONES["resnet18_lbgat"]()
    for backbone, theirs, ours in (
        (wide, "block3.layer.4.bn2.running_var", "stages.14.bn2.running_var"),
        (wide, "block2.layer.0.convShortcut.weight", "stages.5.shortcut.weight"),
        (large, "layer4.1.conv3.weight", "frozen.layers.layer4.1.conv3.weight"),
        (large, "layer4.2.conv3.weight", "block.conv3.weight"),
        (large, "block.bn3.bias", "block.bn3.bias"),
        (natural, "layer3.1.conv2.weight", "stages.5.conv2.weight"),
        (natural, "layer2.0.shortcut.1.bias", "stages.2.shortcut.1.bias"),
    ):
        assert backbone.released_name(theirs) == ours
        assert ours in backbone.state_dict()


def test_a_backbone_of_which_nothing_was_released_is_refused():
    with torch.device("meta"):
        backbone = models.BACKBONES["preact_resnet18"]()
    with pytest.raises(InputError, match="No released checkpoint has the backbone PreActResNet18"):
        METHODS["cross_entropy"].released_name("conv1.weight", backbone)


@pytest.mark.parametrize("method", ["mixup", "mislas", "lbgat"])
def test_the_weights_of_a_run_come_back_as_a_run(tmp_path, method):
    """Also in float16, as the wheel carries them, and under any name of the file."""
    trained = execute(experiment(method))
    written = (trained.folder / "weights.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(written)
    (tmp_path / "half").write_bytes(float16.halved(written))
    run = import_run(tmp_path / "a.safetensors", experiment(method))
    assert run.info["experiment"]["method"] == method
    assert run.info["imported"]["not_in_file"] == []
    np.testing.assert_array_equal(run.predictions()["logits"], trained.predictions()["logits"])
    half = import_run(tmp_path / "half", experiment(method))
    assert half.id != run.id
    np.testing.assert_allclose(half.predictions()["logits"], run.predictions()["logits"], atol=0.05)


def test_a_second_stage_starts_from_a_stored_network(tmp_path):
    trained = execute(experiment("mixup"))
    (tmp_path / "a.safetensors").write_bytes((trained.folder / "weights.safetensors").read_bytes())
    run = import_run(tmp_path / "a.safetensors", experiment("mislas"))
    assert run.info["experiment"]["method"] == "mixup"
    second = load(execute(experiment("lws", f"stage1={run.id}")))
    torch.testing.assert_close(second.network.state_dict(), load(trained).network.state_dict())
    with pytest.raises(InputError, match="'study/mixup' is not the id of a run.*ltlib import FILE"):
        execute(experiment("lws", "stage1=study/mixup"))


def test_weights_with_our_names_have_our_order_of_the_classes(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((execute(experiment("mixup")).folder / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="leave --class-order out"):
        import_run(tmp_path / "a.safetensors", experiment("mixup"), class_order="ascending")


class Code:
    """Something that only code can restore."""


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "cannot be read"),
        (lambda p: p.write_bytes(b"<html>log in</html>"), "is damaged or is not a checkpoint of PyTorch"),
        (lambda p: p.write_bytes(to_safetensors({"a": torch.zeros(9)})[:-1]), "is damaged or is not a checkpoint"),
        (lambda p: p.write_bytes(b"\0" * 8 + b"{"), "is damaged or is not a checkpoint of PyTorch"),
        (
            lambda p: p.write_bytes(to_safetensors({"network.classifier.weight": torch.zeros(10, 64)})),
            "lacks 'network",
        ),
        (lambda p: p.write_bytes(b""), "is damaged or is not a checkpoint of PyTorch"),
        (lambda p: torch.save({"state_dict": Code()}, p), "reading it would run code from the file"),
        (lambda p: p.write_bytes(pickle.dumps({"a": Code()}, 2)), "(run code|damaged)"),
        (lambda p: torch.save([torch.zeros(1)], p), "holds a list, not a state_dict"),
        (
            lambda p: torch.save({"state_dict": {"fc.weight": torch.zeros(10, 64)}}, p),
            "lacks 'network",
        ),
        (
            lambda p: torch.save({"fc.weight": torch.zeros(9, 64)}, p),
            r"shape \(9, 64\), and this network needs \(10, 64\)",
        ),
        (
            lambda p: torch.save({part: {"module.fc.weight": torch.zeros(10, 64)} for part in ("net", "ema")}, p),
            "holds 'fc.weight' more than once",
        ),
        (
            lambda p: torch.save({"block1.layer.0.bn1.weight": torch.zeros(1)}, p),
            "which Mixup on CifarResNet does not",
        ),
    ],
)
def test_bad_files_are_refused_in_a_sentence_and_nothing_is_written(tmp_path, write, message):
    file = tmp_path / "bad.pth"
    write(file)
    with pytest.raises(InputError, match=message) as caught:
        import_run(file, experiment("mislas"), runs_dir=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_reading_a_file_runs_no_code(tmp_path):
    mark = tmp_path / "mark"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (mark,)

    torch.save({"state_dict": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="would run code"):
        import_run(tmp_path / "a.pth", experiment("mislas"))
    assert not mark.exists()

"""The flags of the command line: what each command of ``ltlib/__main__.py`` can be asked, and how its errors read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn

from ltlib.errors import InputError, nearest

Commands = dict[str, Callable[..., object]]


def parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        commands: the functions of ``ltlib/__main__.py``, by name.
    """
    top = Parser("python -m ltlib", description="Long-Tail Lab: long-tailed and robust recognition.")
    verbs = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (_training_verbs, _evaluation_verbs, _run_verbs, _result_verbs, _data_verbs):
        add(verbs, commands)
    _verb(verbs, "doctor", commands["doctor"])
    return top


class Parser(argparse.ArgumentParser):
    """Its errors are our sentences, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        choice = re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL)
        if choice:
            names = re.findall(r"[\w-]+", choice[2])
            raise InputError(f"There is no command {choice[1]!r}.{nearest(choice[1], names)}")
        raise InputError(f"{message[:1].upper()}{message[1:]}: '{self.prog} --help' says how it is written.")


def _verb(to, name: str, command: Callable[..., object]) -> argparse.ArgumentParser:
    about = command.__doc__ or name  # python -OO drops docstrings
    added = to.add_parser(name, help=about.splitlines()[0], description=about, allow_abbrev=False)
    added.set_defaults(command=command)
    return added


def _training_verbs(verbs, commands: Commands) -> None:
    trainer = _verb(verbs, "train", commands["train"])
    _experiment_flags(trainer)
    trainer.add_argument("--seeds", help="several seeds at once, such as 0,1,2, each with a run of its own")
    trainer.add_argument("--processes", default="1", help="so many processes for one run, one per GPU (default 1)")
    trainer.add_argument(
        "--dry-run", action="store_true", help="only print the plan, with the source of every setting; no run is made"
    )
    trainer.add_argument("--tensorboard", action="store_true", help="write the progress for TensorBoard too")
    reporter = _verb(verbs, "report", commands["report"])
    _experiment_flags(reporter)
    reporter.add_argument("--baseline", help="a second method, trained under the same recipe, to show beside it")

    _verb(verbs, "demo", commands["demo"])
    opener = _verb(verbs, "lab", commands["lab"])
    opener.add_argument("--to", default="long-tail-lab", help="folder for the lessons of an installed wheel")
    opener.add_argument("--no-browser", action="store_true", help="print the address and open no window")

    sweeper = _verb(verbs, "sweep", commands["sweep"])
    sweeper.add_argument("file", help="the sweep file; notebooks/sweeps/ has examples")
    sweeper.add_argument("--workers", help="runs at a time on this machine (default: by GPUs, cores and memory)")
    sweeper.add_argument("--gpus", help="GPUs of this machine to use; 0 trains on the CPU (default: all)")
    sweeper.add_argument("--retries", help="further attempts for a run that failed or was killed (default 1)")
    sweeper.add_argument("--scheduler", help="address of a running Dask cluster to train on, such as tls://HOST:8786")
    sweeper.add_argument(
        "--without-tls", action="store_const", const=True, help="use a cluster that runs code for all who reach it"
    )
    sweeper.add_argument("--dry-run", action="store_true", help="only print the runs, their states and commands")


def _evaluation_verbs(verbs, commands: Commands) -> None:
    importer = _verb(verbs, "import", commands["import_checkpoint"])
    importer.add_argument("file", help="a checkpoint as the authors' code writes it, or .safetensors")
    importer.add_argument("--stage", default="", help="1 or 2, of a method with two stages (default: what is in it)")
    importer.add_argument("--class-order", default="descending", help="descending or ascending counts (ResLT)")
    _experiment_flags(importer, leave_out=("profile", "seed"))

    attacker = _verb(verbs, "robust", commands["robust"])
    attacker.add_argument("run", help="the id of a run, or its beginning")
    attacker.add_argument("--epsilon", default="8/255", help="radius on images in [0, 1] (default 8/255)")
    attacker.add_argument("--norm", default="linf", help="linf or l2 (default linf)")
    attacker.add_argument(
        "--attack", default="apgd", help="pgd20, cw20, apgd (default), fab, square, ensemble, eot, official, transfer"
    )
    attacker.add_argument("--images", default="0", help="how many test images; 0 takes all (default)")
    attacker.add_argument(
        "--surrogate", help="another run whose adversarial images are tried on this one; for transfer also RUN,RUN"
    )

    evaluator = _verb(verbs, "evaluate", commands["evaluate"])
    evaluator.add_argument("run", help="the id of a run, or its beginning")
    evaluator.add_argument(
        "--prior",
        nargs="+",
        default=["forward", "uniform", "backward"],
        help="class frequencies of the test set: uniform, or forward:50 and backward:50 with their factor (default 10)",
    )
    evaluator.add_argument("--learnt", default="train", help="frequencies the model is right for: train or uniform")
    evaluator.add_argument("--coverage", help="also make conformal sets that hold the true class so often, such as 0.9")


def _run_verbs(verbs, commands: Commands) -> None:
    run_verbs = verbs.add_parser("runs", help="List runs or show one.").add_subparsers(required=True, metavar="COMMAND")
    _verb(run_verbs, "list", commands["runs_list"])
    _verb(run_verbs, "show", commands["runs_show"]).add_argument("run", help="the id of a run, or its beginning")
    export = _verb(run_verbs, "export", commands["runs_export"])
    export.add_argument("run", nargs="+", help="the id of a run, or its beginning")
    export.add_argument("--to", required=True, help="the folder to write one file a run into")
    export.add_argument("--label", help="the row of a table that the runs belong to (default: their method)")
    export.add_argument("--logits", action="store_true", help="keep the logits of all test images too, as float16")
    export.add_argument("--sharpness", action="store_true", help="measure how the loss of each class bends as well")
    export.add_argument("--network", help="keep the weights of one run under this name as well, for ltlib.load")
    export.add_argument("--trajectory", action="store_true", help="keep the course of a run with keep_every as well")


def _result_verbs(verbs, commands: Commands) -> None:
    shower = _verb(verbs, "results", commands["results"])
    shower.add_argument("--study", default="", help="a folder of data/reference_runs, or 'runs' for your own")
    shower.add_argument("--dataset", default="", help="only results on these data")
    shower.add_argument("--method", default="", help="only this row, or every row trained with this method")
    shower.add_argument("--metric", nargs="+", default=["accuracy"], help="such as accuracy 'accuracy few' ECE nll")
    shower.add_argument("--rule", help="of the groups: papers or threshold (default: papers where it is defined)")
    shower.add_argument("--papers", action="store_true", help="only numbers that a paper reports too, beside its own")
    shower.add_argument("--to", help="write to a file that ends in .csv, .md or .tex instead")

    _verb(verbs, "claim", commands["claim"]).add_argument(
        "text", help="BETTER > WORSE on METRIC, DATA ifN; data are optional"
    )
    _verb(verbs, "explain", commands["explain"]).add_argument("method", help="a method by its name")

    predictor = _verb(verbs, "predict", commands["predict"])
    predictor.add_argument("run", help="the id of a run or its beginning, or a stored network (STUDY/NAME)")
    predictor.add_argument("folder", help="your images, in sub-folders too")
    predictor.add_argument("--to", help="write to this CSV file instead")


def _data_verbs(verbs, commands: Commands) -> None:
    data_verbs = verbs.add_parser("data", help="Prepare or show data.").add_subparsers(required=True, metavar="COMMAND")
    _experiment_flags(_verb(data_verbs, "prepare", commands["data_prepare"]))
    _verb(data_verbs, "show", commands["data_show"])
    _verb(data_verbs, "fetch", commands["data_fetch"])


def _experiment_flags(parser: argparse.ArgumentParser, leave_out: tuple[str, ...] = ()) -> None:
    """One flag a field. Values stay texts: `Experiment.parse` reads them, with better messages than argparse's."""
    from ltlib.experiments.experiment import FIELDS, Experiment, meanings
    from ltlib.experiments.recipe import Recipe

    said = meanings(Experiment)
    for name in (name for name in FIELDS if name not in leave_out):
        default = getattr(Experiment, name)
        parser.add_argument(flag(name), help=f"{_plain(said.get(name, ''))} (default {default!r})")
    names = "\n".join(f"  {name:<15} {_plain(text)}" for name, text in meanings(Recipe).items())
    parser.epilog = (
        f"Names of the recipe for --overrides:\n{names}\nThe numbers of a method: train --dry-run shows them."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _plain(text: str) -> str:
    """A docstring's text for the terminal."""
    return text.replace("`", "").replace("%", "%%")


def flag(name: str) -> str:
    """``imbalance_factor`` as ``--imbalance-factor``."""
    return f"--{name.replace('_', '-')}"

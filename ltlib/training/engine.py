"""The engine: trains any method, one epoch after another, and can stop and resume anywhere without a trace.

It moves data, steps, schedules, evaluates, checkpoints and refuses values that are not finite. It knows a
method only through the interface in ``ltlib/methods/method.py``, and nothing of experiments or run folders.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ltlib import distributed
from ltlib.data.loader import Batch, Loader
from ltlib.data.stream import Split, Stream
from ltlib.errors import TrainingStopped
from ltlib.evaluation.evaluate import accuracy, attacked_accuracy, class_means, per_class, predict
from ltlib.evaluation.sharpness import uphill
from ltlib.methods.method import Method, Stage
from ltlib.training import checkpoint
from ltlib.training.best import Best
from ltlib.training.compiled import CapturedStep, compile_networks, eager
from ltlib.training.device import autocast, generator_states, memory_explained, resolve_precision, set_generator_states
from ltlib.training.schedule import SCHEDULES
from ltlib.training.step import Guard, counted_together, first_not_finite, fuse, synchronize_batch_norm

CLASSES_PER_EPOCH = 100  # so many classes at most have their accuracy and confidence in the record of each epoch


@dataclass(frozen=True)
class Options:
    """How a method is trained. The defaults are the recipe of MiSLAS on CIFAR-LT.

    Attributes:
        epochs: passes over the training images; a method of two stages has those of the second on top.
        batch_size: images of one step, of all processes together.
        lr: largest learning rate of the schedule.
        momentum: of SGD.
        weight_decay: of SGD.
        nesterov: use Nesterov's momentum.
        sam_radius: rho of sharpness-aware minimisation, at twice the cost; 0 is plain SGD. Each step takes its gradient
            at the weights that are rho further uphill, see ``ltlib.evaluation.sharpness.uphill``. Rangwani et al. 2022
            (arXiv 2212.13827) have 0.1 with cross-entropy, 0.5 with CE-DRW and 0.8 with LDAM-DRW on CIFAR-10-LT.
        schedule: how the learning rate falls, a key of ``ltlib.training.schedule.SCHEDULES``.
        augmentation: of the training images, a key of ``ltlib.data.augment.AUGMENTATIONS``.
        precision: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where the hardware computes in it.
        deterministic: use only kernels that give the same bits each time.
        compile: translate the networks by torch.compile.
        capture: on one GPU, record the step as a CUDA graph and replay it; ``false`` takes each as it comes.
        sync_bn: on several GPUs, let BatchNorm see the whole batch and not a GPU's share of it.
        evaluate_every: epochs between looks at the test set; the last epoch is always measured.
        keep_every: epochs between weights that stay in the run folder; 0 keeps those of the last epoch only.
        keep: the epoch whose weights are reported: ``last``, or ``best_on_validation``, the epoch of the last stage
            with the best accuracy on held-out images. Of a method that trains against an attack, it is their accuracy
            under that attack with 20 steps; see ``Method.held_out_attack``.
    """

    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 2e-4
    nesterov: bool = False
    sam_radius: float = 0.0
    schedule: str = "step"
    augmentation: str = "crop_flip"
    precision: str = "auto"
    deterministic: bool = True
    compile: bool = False
    capture: bool = True
    sync_bn: bool = False
    evaluate_every: int = 1
    keep_every: int = 0
    keep: str = "last"


class Engine:
    """One training, in memory.

    Args:
        method: on its device already.
        train: training images and labels, on the same device.
        options: see :class:`Options`.
        evaluate: name -> split whose accuracy is measured along the way.

    Raises:
        InputError: the device does not have what ``sync_bn`` or ``precision`` asks for.
    """

    def __init__(self, method: Method, train: Split, options: Options, evaluate: dict[str, Split]):
        self.method, self.train, self.options, self.evaluate = method, train, options, evaluate
        self.truth = {name: split[1].cpu() for name, split in evaluate.items()}  # logits are measured on the host
        self.device = train[0].device
        self.precision = resolve_precision(options.precision, self.device)
        # To look at a loss is free on a CPU, but a GPU would run out of work meanwhile. On an Apple GPU the fused step
        # cannot be left out, so the host must look at each one.
        self.look_at_each_step = self.device.type != "cuda"
        self.capture = options.capture and self.device.type == "cuda" and distributed.world_size() == 1
        if options.sync_bn:
            self.method = synchronize_batch_norm(method, self.device)
        if options.compile:
            compile_networks(method)
        self.eager = eager if options.compile else contextlib.nullcontext
        self.stages = method.stages(options.epochs, options.schedule)
        self.total_epochs = sum(stage.epochs for stage in self.stages)
        self.history: list[dict] = []
        self.best = Best() if options.keep == "best_on_validation" else None
        self._begin(0)

    def resume(self, file: Path, identity: dict) -> None:
        """Continue from the checkpoint ``file`` if it exists.

        Raises:
            InputError: the checkpoint is damaged or belongs to another run; see ``checkpoint.load``.
        """
        found = distributed.from_first(lambda: checkpoint.load(file, identity) if file.exists() else None)
        if found is not None:
            checkpoint.restore(self.load_state_dict, found, file)

    def fit(self, file: Path, identity: dict, on_epoch: Callable[[dict], None]) -> None:
        """Train to the end; the records of all epochs are then in ``history``.

        Args:
            file: checkpoint, written after every epoch while the next one runs.
            identity: whose it is; see ``checkpoint.load``.
            on_epoch: receives the record of each finished epoch. All checkpoints are on disk when this returns or
                raises.

        Raises:
            TrainingStopped: a loss, a gradient or a number in the state was not finite; ``file`` still holds the last
                good epoch.
            InputError: the checkpoint cannot be written, or memory ran out.
        """
        with checkpoint.Writer(file, identity) as writer, memory_explained(self.options.batch_size):
            while len(self.history) < self.total_epochs:
                if self.epoch == self.stage.epochs:
                    self._begin(self.stage_index + 1)
                record = self._epoch()
                self.history.append(record)
                if self.best and self.stage is self.stages[-1]:
                    self.best.offer(record, self.method.state_dict())
                state = self._checked_state()
                if distributed.rank() == 0:
                    writer.write(state)
                on_epoch(record)

    def take_reported(self) -> int:
        """Give the method the weights of the epoch that is reported; returns its number, counted from 1.

        Call it after the training only. The checkpoint still has the last epoch.
        """
        if not self.best:
            return len(self.history)
        self.method.load_state_dict(self.best.weights)
        return self.best.epoch

    def predict(self, images: Tensor | Stream) -> Tensor:
        """Logits (N, K) of the method as it is; see :func:`ltlib.evaluation.evaluate.predict`."""
        with self.eager():
            return predict(self.method, images)

    def _finite(self, logits: Tensor) -> Tensor:
        """These logits of test or held-out images.

        Raises:
            TrainingStopped: one of them is not finite, although every loss was; see :meth:`_checked_state`.
        """
        if not torch.isfinite(logits).all():
            bad = checkpoint.not_finite({"method": self.method.state_dict()}) or "a logit"
            raise TrainingStopped(
                f"Training stopped after stage {self.stage.name!r}, epoch {len(self.history) + 1}: {bad} is not "
                f"finite. The checkpoint of the epoch before is kept; try a lower lr or precision=float32."
            )
        return logits

    def _checked_state(self) -> dict:
        """The state on the host.

        Raises:
            TrainingStopped: a number in it is not finite. The losses need not show it: BatchNorm trains with the
                statistics of the batch, and only its running ones overflow.
        """
        state = checkpoint.on_host(self.state_dict())
        bad = checkpoint.not_finite({"method": state["method"], "optimizer": state["optimizer"]["state"]})
        if bad:
            raise TrainingStopped(
                f"Training stopped after stage {self.stage.name!r}, epoch {len(self.history)}: {bad} is not "
                f"finite. The checkpoint of the epoch before is kept; try a lower lr or precision=float32."
            )
        return state

    def _begin(self, index: int) -> None:
        """Set up stage ``index``: what trains, its optimiser, its stream of images."""
        self.stage_index, self.epoch = index, 0
        self.stage: Stage = self.stages[index]
        self.method.begin(self.stage)
        o = self.options
        self.fused = not self.look_at_each_step
        self.optimizer = torch.optim.SGD(
            [group | {"lr": self._rate(o.lr)} for group in self.method.param_groups(self.stage)],
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            nesterov=o.nesterov,
            fused=self.fused,
        )
        self.guard = Guard(self.device, self.precision)
        if self.fused:
            fuse(self.optimizer, self.guard.skip)
        self.loss = distributed.wrap(self.method, self.device)
        self.recorded, self.phase = CapturedStep(), None
        self.fresh = True
        self.loader = Loader(
            *self.train,
            sampler=self.stage.sampler,
            epochs=self.stage.epochs,
            batch_size=o.batch_size,
            augmentation=o.augmentation,
            length=self.stage.length,
            partners=self.stage.partners,
        )

    def _epoch(self) -> dict:
        """Train one epoch and measure; returns its record."""
        if self.epoch == 0 and self.method.wants_means(self.stage):
            with self.eager():
                self.method.take_means(class_means(self.method, self.train))
        lr = self.options.lr * SCHEDULES[self.stage.schedule](self.epoch, self.stage.epochs)
        for group in self.optimizer.param_groups:
            rate = lr * group.get("lr_factor", 1.0)
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

        started = time.perf_counter()
        loss, compiling = self._train_epoch()
        seconds = time.perf_counter() - started - compiling

        self.epoch += 1
        number = len(self.history) + 1
        record = {"epoch": number, "stage": self.stage.name, "lr": lr, "loss": loss}
        if number % self.options.evaluate_every == 0 or number == self.total_epochs:
            with self.eager():
                for name, (x, *_) in self.evaluate.items():
                    logits, y = self._finite(predict(self.method, x)), self.truth[name]
                    record[f"{name}_accuracy"] = accuracy(logits, y)
                    if name == "test" and logits.shape[1] <= CLASSES_PER_EPOCH:
                        record["class_accuracy"], record["class_confidence"] = per_class(logits, y)
                if self.best and (attack := self.method.held_out_attack()):
                    robust = attacked_accuracy(self.method, attack, self.evaluate["validation"])
                    record["validation_robust_accuracy"] = robust
        speed = {"seconds": seconds, "images_per_second": self.loader.size / seconds}
        return record | speed | ({"compile_seconds": compiling} if compiling else {})

    def _train_epoch(self) -> tuple[float, float]:
        """All steps of an epoch; returns the mean loss, and the seconds that went into compiling."""
        self.method.train()
        total, waiting, compiling = 0.0, [], 0.0
        batches = self.loader.epoch(self.epoch)  # draws the order, the same on all ranks
        with (
            distributed.own_random_numbers(self.device, self.epoch),
            counted_together(self.method, len(self.loader)),
        ):
            for step, batch in enumerate(batches, 1):
                started = time.perf_counter()
                images = min(self.options.batch_size, self.loader.size - (step - 1) * self.options.batch_size)
                waiting.append((self.take_step(batch, images), images))
                if self.fresh and self.options.compile:
                    compiling = time.perf_counter() - started
                self.fresh = False
                if self.look_at_each_step or step == len(self.loader):
                    total += self._read(waiting, step - len(waiting), batch)
                    waiting = []
            distributed.average_buffers(self.method)
        return total / self.loader.size, compiling

    def take_step(self, batch: Batch, images: int) -> Tensor:
        """One step, see :meth:`_step`: recorded or translated if the global batch of so many images is a full one."""
        if images < self.options.batch_size:  # would be recorded and compiled again
            with self.eager():
                return self._step(batch, distributed.share_of(images))
        phase = self.method.phase(batch.progress) if self.capture else None
        if phase is None:
            return self._step(batch, distributed.share_of(images))
        if phase != self.phase:
            self.recorded, self.phase = CapturedStep(), phase
        return self.recorded(self._step, batch)

    def _step(self, batch: Batch, share: float = 1.0) -> Tensor:
        """One step of SGD; returns the loss and whether training must halt, (2,), without waiting for them.

        The loss of this rank's part of the batch enters with weight ``share``, see ``distributed.share_of``.
        """
        loss = self._gradients(batch, share)
        if self.options.sam_radius:
            with uphill(self._moved(), self.options.sam_radius):
                self._gradients(batch, share)
        self.guard.check(loss, [p.grad for p in self._moved() if p.grad is not None])
        if self.fused or not self.guard.halt:
            self.optimizer.step()
            self.method.after_step()
        return torch.stack([distributed.average(loss), self.guard.halt])

    def _gradients(self, batch: Batch, share: float) -> Tensor:
        """Give every parameter its gradient; returns the loss."""
        with autocast(self.precision, self.device):
            loss = share * self.loss(batch)
        self.optimizer.zero_grad()
        self.guard.scaled(loss).backward()
        return loss.detach()

    def _moved(self) -> list[Tensor]:
        """The parameters of the optimiser that have a gradient."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def _read(self, waiting: list[tuple[Tensor, int]], before: int, batch: Batch) -> float:
        """The summed loss of the images of some steps, of which ``before`` others came first.

        Raises:
            TrainingStopped: a loss or a gradient was not finite.
        """
        total = 0.0
        values = torch.stack([measured for measured, _ in waiting]).tolist()  # here the host waits
        for step, ((loss, halted), (_, images)) in enumerate(zip(values, waiting, strict=True), before + 1):
            if halted:
                where = f"stage {self.stage.name!r}, epoch {len(self.history) + 1}, step {step}"
                found = first_not_finite(self.method, batch, loss)
                raise TrainingStopped(
                    f"Training stopped at {where}: {found} (loss {loss:.4g}). The checkpoint of the last finished "
                    f"epoch is kept; try a lower lr or precision=float32 (a new run, trained from the beginning), or "
                    f"look at the named tensor."
                )
            total += loss * images
        return total

    def _rate(self, lr: float) -> float | Tensor:
        """A learning rate as the optimiser needs it: a CUDA graph reads it from a tensor."""
        return torch.full((), lr, device=self.device) if self.capture else lr

    def state_dict(self) -> dict:
        """Everything that the rest of the training depends on."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sampler": self.loader.sampler.state_dict(),
            "generators": generator_states(self.device),
            "stage_index": self.stage_index,
            "epoch": self.epoch,
            "history": list(self.history),
            **({"loss_scale": self.guard.scale.state_dict()} if self.guard.scale else {}),
            **({"best": self.best.state_dict()} if self.best else {}),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._begin(state["stage_index"])
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # what was loaded rests on the CPU
            group["lr"] = self._rate(float(group["lr"]))
        if self.guard.scale:
            self.guard.scale.load_state_dict(state["loss_scale"])
        if self.best:
            self.best.load_state_dict(state["best"])
        self.loader.sampler.load_state_dict(state["sampler"])
        set_generator_states(state["generators"], self.device)

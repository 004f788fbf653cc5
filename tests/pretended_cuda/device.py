"""The pretended device: tensors that say ``cuda:0`` or ``mps:0``, and what it makes of each operator."""

from __future__ import annotations

import traceback
from collections import Counter
from functools import partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.pretended_cuda.rules import CONVOLUTIONS, DRAWS, FREE, NOT_DETERMINISTIC, WAITS, refuse_on_mps

CUDA, MPS, CPU = torch.device("cuda", 0), torch.device("mps", 0), torch.device("cpu")


class CudaTensor(Tensor):
    """A tensor on the pretended device; ``value`` holds its values, in a tensor on the CPU.

    C++ is told that it is on the CPU, because the autograd engine would ask the driver about any other device.
    """

    value: Tensor

    @staticmethod
    def __new__(cls, real: Tensor):
        shell = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="meta")
        self = Tensor._make_subclass(cls, shell, False, dispatch_device=True, device_for_backend_keys=CPU)
        self.value = real
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: Gpu.current.device)
    is_cuda = property(lambda self: Gpu.current.device.type == "cuda")
    is_mps = property(lambda self: Gpu.current.device.type == "mps")
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def new_tensor(self, data, *, device=None, **kwargs):  # built by the host, then sent
        return torch.tensor(data, device=device or Gpu.current.device, **{"dtype": self.dtype} | kwargs)

    def to(self, *args, **kwargs):
        copy = kwargs.pop("copy", False)
        if args and isinstance(args[0], CudaTensor):
            args = (args[0].dtype, *args[1:])
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        more = {"memory_format": layout} if layout is not None else {}
        if device is None or device.type == Gpu.current.device.type:  # to C++ we are on the CPU, and stay there
            return Tensor.to(self, dtype or self.dtype, non_blocking, copy, **more)
        send = torch.ops.aten._to_copy.default
        return send(self, device=device, dtype=dtype or self.dtype, non_blocking=non_blocking, **more)

    def cpu(self, **_):
        return self.to(CPU)

    def cuda(self, *_, **__):
        return self

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_, **__):
        return self.numpy()

    def __repr__(self, **_):
        return f"CudaTensor({self.value})"

    def __deepcopy__(self, memo):
        copy = CudaTensor(self.value.detach().clone())
        out = torch.nn.Parameter(copy, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copy
        memo[id(self)] = out
        return out

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return Gpu.current.call(function, args, kwargs or {})


class Gpu(TorchDispatchMode):
    """The device, and what was seen on it since :meth:`reset`.

    Attributes:
        waits: for each time the host waits, why and in which line.
        transfers: the same for each copy between host and device, waited for or not.
        kernels: operators that start work on the device, counted by name.
        host_draws: random numbers that the host drew.
        tf32: convolutions in float32 while TF32 was allowed.
        recording: the graph that is being recorded, or None.
        replays: how often a graph was replayed.
        device: what its tensors say.
    """

    current: Gpu

    def __init__(self, device: torch.device = CUDA):
        super().__init__()
        self.device = device
        self.generator = torch.Generator().manual_seed(0)
        self.recording, self.replays = None, 0
        self.reset()

    def reset(self) -> None:
        self.waits, self.transfers, self.kernels = [], [], Counter()
        self.host_draws, self.tf32 = [], []

    def tensor(self, real: Tensor) -> CudaTensor:
        """A copy on the device."""
        if self.device.type == "mps":
            refuse_on_mps("to", real, {})
        return CudaTensor(real.detach().clone())

    def move(self, module: torch.nn.Module) -> torch.nn.Module:
        """As ``module.to("cuda")``, the same parameter in two places included."""
        done: dict[int, Tensor] = {}
        for part in module.modules():
            for table in (part._parameters, part._buffers):
                for name, t in table.items():
                    if t is not None and not isinstance(t, CudaTensor):
                        if id(t) not in done:
                            new = self.tensor(t)
                            parameter = isinstance(t, torch.nn.Parameter)
                            done[id(t)] = torch.nn.Parameter(new, t.requires_grad) if parameter else new
                        table[name] = done[id(t)]
        return module

    def wait(self, what: str) -> None:
        """The host waits.

        Raises:
            RuntimeError: a graph is being recorded.
        """
        line = f"{what} at {_here()}"
        if self.recording:
            raise RuntimeError(f"operation not permitted when stream is capturing: {line}")
        self.waits.append(line)

    def _copied(self, what: str, asynchronous: bool = False) -> None:
        self.transfers.append(f"{what} at {_here()}")
        if not asynchronous:
            self.wait(what)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self.call(function, args, kwargs or {})

    def call(self, function, args, kwargs):
        """Check and compute one operator."""
        if function is torch.ops.prim.device.default:
            return CPU  # what C++ asks; Python sees CudaTensor.device
        name = function.overloadpacket.__name__
        leaves = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        ours = [t for t in leaves if isinstance(t, CudaTensor)]
        asked = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if asked is not None and torch._C._current_autograd_node() is not None:
            # the autograd engine wants new tensors where C++ believes the others to be
            asked = self.device if ours or name in ("zeros", "empty", "ones", "full", "scalar_tensor") else asked
        to_gpu = asked.type == self.device.type if asked is not None else bool(ours)
        if not ours and not to_gpu:
            if name in DRAWS:
                self.host_draws.append(f"{name} at {_here()}")
            return function(*args, **kwargs)
        others = [t for t in leaves if not isinstance(t, CudaTensor)]
        self._note_copies(name, args, kwargs, ours, others, asked)
        self._refuse(name, function, ours, others)
        self._note_waits(name, args, ours)
        return self._compute(name, function, args, kwargs, to_gpu)

    def _note_copies(self, name, args, kwargs, ours, others, asked) -> None:
        if name in ("_to_copy", "to"):
            if ours and asked is not None and asked.type == "cpu":
                self._copied("device to host", kwargs.get("non_blocking", False))
            elif others and asked is not None and asked.type == self.device.type:
                pinned = getattr(others[0], "pretended_pinned", False)
                self._copied("host to device", kwargs.get("non_blocking", False) and pinned)
        elif name == "copy_" and others:
            self._copied("device to host" if isinstance(args[1], CudaTensor) else "host to device")
        elif name.startswith("index") and others and isinstance(args[0], CudaTensor):
            self._copied(f"{name} with indices on the host")

    def _refuse(self, name, function, ours, others) -> None:
        """Raise RuntimeError where CUDA would."""
        harmless = name in ("_to_copy", "to", "copy_", "lift_fresh", "_pin_memory", "is_pinned")
        large = any(t.dim() for t in others) or name in ("_fused_sgd_", "_foreach_copy_")
        if ours and others and large and not harmless and not name.startswith("index"):
            raise RuntimeError(
                f"{function}: Expected all tensors to be on the same device, but found at least two devices, "
                f"{self.device} and cpu! ({_here()})"
            )
        of_whole_numbers = name == "cumsum" and ours and not ours[0].is_floating_point()
        strict = torch.are_deterministic_algorithms_enabled() and name in NOT_DETERMINISTIC
        if strict and ours and not of_whole_numbers:
            raise RuntimeError(f"{name}_cuda does not have a deterministic implementation ({_here()})")

    def _note_waits(self, name, args, ours) -> None:
        if name in WAITS and ours:
            self.wait(name)
        elif name.startswith("index"):
            indices = [i for i in tree_leaves(args[1:2]) if isinstance(i, Tensor)]
            if any(i.dtype in (torch.bool, torch.uint8) for i in indices):
                self.wait(f"{name} by a mask")
        if name in CONVOLUTIONS and ours[0].dtype == torch.float32 and torch.backends.cudnn.allow_tf32:
            self.tf32.append(f"{name} at {_here()}")

    def _compute(self, name, function, args, kwargs, to_gpu):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, CudaTensor)]
        plain_args, plain = tree_map_only(CudaTensor, lambda t: t.value, (args, dict(kwargs)))
        if self.recording:
            self.recording.before(_written(name, function, plain_args, plain))
        if to_gpu and name in DRAWS:
            function, plain = self._with_own_generator(name, function, plain)
        if plain.get("device") is not None:
            plain["device"] = CPU
        if "pin_memory" in plain:
            plain["pin_memory"] = False
        if name not in FREE:
            self.kernels[name] += 1
        with _disable_current_modes():
            out = function(*plain_args, **plain)
        if not to_gpu:
            return out
        if self.device.type == "mps":
            refuse_on_mps(name, out, plain)
        known = {id(t.value): t for t in tensors}
        if self.recording:
            self.recording.saw(function, plain_args, plain, out)
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else CudaTensor(t), out)

    def _with_own_generator(self, name, function, kwargs):
        """The operator and its arguments, drawing from the generator of the device."""
        if name in ("rand", "randn", "randint", "randperm") and "generator" not in function._overloadname:
            other = {"low": "low_generator"}.get(function._overloadname, "generator")
            function = getattr(function.overloadpacket, other)
        elif name in ("randn_like", "rand_like"):
            fill = torch.ops.aten.normal_ if name == "randn_like" else torch.ops.aten.uniform_
            return partial(_filled_like, fill.default, self.generator), {}
        return function, kwargs | {"generator": kwargs.get("generator") or self.generator}


def _filled_like(fill, generator, x: Tensor) -> Tensor:
    return fill(torch.empty_like(x), generator=generator)


def _written(name, function, args, kwargs) -> list[Tensor]:
    """The tensors that an operator writes to."""
    found = []
    for i, argument in enumerate(function._schema.arguments):
        if argument.alias_info and argument.alias_info.is_write:
            given = args[i] if i < len(args) else kwargs.get(argument.name)
            found += [t for t in tree_leaves(given) if isinstance(t, Tensor)]
    if name == "native_batch_norm" and args[5]:  # writes the running statistics, and its schema does not say so
        found += [t for t in args[3:5] if t is not None]
    return found


def _here() -> str:
    """The innermost line of the package or of a test that led to an operator."""
    for frame in reversed(traceback.extract_stack()):
        for folder in ("/ltlib/", "/tests/"):
            if folder in frame.filename and "/pretended_cuda/" not in frame.filename:
                return f"{folder[1:]}{frame.filename.rpartition(folder)[2]}:{frame.lineno}"
    return "?"

"""CUDA graphs: all kernels of a step are recorded once and launched again as one.

That pays where a step is shorter than it takes Python to launch its kernels: the foal on a GPU, hardly the 15.3 B
model. A recorded step reads and writes fixed addresses, so its inputs are copied into buffers of ours, and its results
out of them: a caller's tensors are never held on to, and a result is not overwritten by the next step.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 2
"""Calls before the recording: libraries and compilers set themselves up in the first ones."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """A step that can be done again on the same buffers."""

    results: Any
    """What the step returned; ``replay`` writes into these tensors."""
    replay: Callable[[], None]


Record = Callable[[Callable[[], Any], torch.device], Recording]
"""Records the work of a function on a device."""


class GraphRunner:
    """``step`` with the same arguments and results, replayed on a GPU from a graph for each combination of sizes.

    ``step`` takes and returns tensors, alone or in tuples and frozen dataclasses (``Latents``, ``RowCache``,
    ``Layout``). It must not wait for the GPU, and what it reads besides its arguments, a model's weights, must stay at
    its address. The ``limit`` sizes that were last used are kept. With gradients, and on a CPU, ``step`` is called as
    it is. One caller at a time: the buffers are shared.
    """

    def __init__(self, step: Callable[..., Any], *, limit: int = 8, record: Record | None = None) -> None:
        self.step, self.limit = step, limit
        self._record = record or CudaRecorder()
        self._everywhere = record is not None
        self._graphs: OrderedDict[Any, Graph] = OrderedDict()

    def __call__(self, *inputs: Any) -> Any:
        tensors = tensors_in(inputs)
        device = tensors[0].device
        if torch.is_grad_enabled() or not (self._everywhere or device.type == "cuda"):
            return self.step(*inputs)
        key = mapped(inputs, _described)
        if key not in self._graphs:
            while len(self._graphs) >= self.limit:
                self._graphs.popitem(last=False)
            self._graphs[key] = Graph(self.step, inputs, self._record, device)
        self._graphs.move_to_end(key)
        return self._graphs[key](tensors)

    @property
    def graphs(self) -> int:
        """Number of graphs that are kept."""
        return len(self._graphs)


class Graph:
    """A recorded step and its buffers."""

    def __init__(self, step: Callable[..., Any], inputs: Any, record: Record, device: torch.device) -> None:
        # Buffers that belong to inference mode could not be written outside of it.
        with torch.inference_mode(False):
            buffers = mapped(inputs, torch.empty_like)
        self.buffers = tensors_in(buffers)
        self._copy_in(tensors_in(inputs))  # recording runs the step, and not on whatever the memory held
        self.recording = record(lambda: step(*buffers), device)

    def __call__(self, tensors: list[Tensor]) -> Any:
        """The results for these inputs, in tensors of their own."""
        self._copy_in(tensors)
        self.recording.replay()
        return mapped(self.recording.results, torch.clone)

    def _copy_in(self, tensors: list[Tensor]) -> None:
        # Prompt and layout are the same for all steps of a clip, yet copied every time: telling whether they are is not
        # safe (addresses are used again, and tensors of inference mode count no writes), and one launch copies all.
        torch._foreach_copy_(self.buffers, tensors)


class CudaRecorder:
    """Records CUDA graphs that share their memory: no two of them run at once, and results are copied out at once."""

    def __init__(self) -> None:
        self._pools: dict[torch.device, Any] = {}

    def __call__(self, work: Callable[[], Any], device: torch.device) -> Recording:
        with torch.cuda.device(device):
            pool = self._pools.setdefault(device, torch.cuda.graph_pool_handle())
            side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    work()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, pool=pool):
                results = work()
        return Recording(results, graph.replay)


# ------------------------------------------------------------------------------------------------ tensors in structures
def mapped(value: Any, fn: Callable[[Tensor], Any]) -> Any:
    """``value`` with ``fn`` of every tensor in the tensor's place, in tuples and dataclasses as well."""
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, tuple):
        return tuple(mapped(part, fn) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: mapped(getattr(value, field.name), fn) for field in dataclasses.fields(value)}
        return type(value)(**parts)
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a structure, in order."""
    found: list[Tensor] = []
    mapped(value, found.append)
    return found


def _described(tensor: Tensor) -> tuple[Any, ...]:
    """What a graph depends on."""
    return tuple(tensor.shape), tensor.dtype, tensor.device

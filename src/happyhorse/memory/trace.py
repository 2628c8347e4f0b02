"""What a computation would take, found by running it on tensors that have sizes but no numbers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside of it while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def ignore(self, *tensors: Tensor) -> None:
        """Leaves out tensors that were there before."""
        for tensor in tensors:
            self._remember(tensor.untyped_storage(), 0)

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._seen:
            self._remember(storage, storage.nbytes())
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)

    def _remember(self, storage: torch.UntypedStorage, size: int) -> None:
        key = id(storage)

        def forget(_: weakref.ref) -> None:
            del self._seen[key]
            self.live -= size

        self._seen[key] = weakref.ref(storage, forget)


def working_bytes(work: Callable[[Any], Any], build: Callable[[], nn.Module] = nn.Identity) -> int:
    """Peak of the bytes of all tensors that ``work(module)`` makes, in a pass without gradients, on tensors without
    numbers; the tensors of the module that ``build`` makes are not counted."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        module = build()
        with LiveBytes() as counted:
            counted.ignore(*module.parameters(), *module.buffers())
            work(module)
    return counted.peak

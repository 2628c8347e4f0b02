"""AdamW, and Muon for the matrices of the blocks (Jordan et al. 2024, "Muon"), with one schedule for both.

Muon replaces the momentum M of a weight matrix by the nearest semi-orthogonal matrix U V^T (of M = U S V^T), found by
Newton-Schulz iterations: matrix products only. The update is scaled by 0.2 sqrt(max(rows, columns)), which gives it the
size of an AdamW update (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from happyhorse.recipes.recipe import OptimizerConfig

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x -> a x + b x^3 + c x^5: steep at zero, and in [0.7, 1.2] for all singular values after 5 rounds."""


def orthogonalise(matrices: Tensor, steps: int) -> Tensor:
    """Matrices [k, m, n] with all singular values moved near one (0.7 to 1.2), singular vectors kept."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).contiguous()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        # a is added on the diagonal of the small factor, so that nothing passes over the large matrices but products.
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        x = factor @ x
    return x.mT if tall else x


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A parameter that holds one weight matrix, or several stacked along the rows (one for each modality)."""

    parameter: nn.Parameter
    experts: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one of the matrices."""
        return self.parameter.shape[0] // self.experts, self.parameter.shape[1]


class Muon(torch.optim.Optimizer):
    """Muon with decoupled weight decay; matrices of one shape are orthogonalised in one batch.

    ``dtype`` is that of the orthogonalisation's products: bfloat16 will do where the machine is faster with it.
    """

    def __init__(self, matrices: list[Matrix], config: OptimizerConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__([matrix.parameter for matrix in matrices], {"lr": config.learning_rate})
        self.config, self.dtype = config, dtype
        self._groups: dict[tuple[int, int], list[Matrix]] = defaultdict(list)
        for matrix in matrices:
            self._groups[matrix.shape].append(matrix)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update with the gradients as they are."""
        assert closure is None
        rate = self.param_groups[0]["lr"]
        for shape, matrices in self._groups.items():
            momenta = [self._momentum(matrix.parameter) for matrix in matrices]
            stack = torch.cat([m.view(-1, *shape) for m in momenta]).to(self.dtype)
            updates = orthogonalise(stack, self.config.newton_schulz_steps).to(momenta[0].dtype)
            scale = -rate * 0.2 * math.sqrt(max(shape))
            parts = updates.split([matrix.experts for matrix in matrices])
            for matrix, update in zip(matrices, parts, strict=True):
                matrix.parameter.mul_(1 - rate * self.config.weight_decay)
                matrix.parameter.add_(update.reshape(matrix.parameter.shape), alpha=scale)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """The Nesterov look-ahead of the gradient's running average."""
        assert parameter.grad is not None
        average = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        average.lerp_(parameter.grad, 1 - self.config.momentum)
        return parameter.grad.lerp(average, self.config.momentum)


class Optimizers:
    """The optimisers of one model, stepped, scheduled and stored as one."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, dtype: torch.dtype = torch.float32) -> None:
        self.config = config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = block_matrices(model)
        hidden = {id(matrix.parameter) for matrix in matrices}
        others = [p for p in self.parameters if id(p) not in hidden]
        if config.kind == "muon" and matrices:  # stacks of low rank have none
            self.parts: list[torch.optim.Optimizer] = [Muon(matrices, config, dtype), _adamw([(others, 0.0)], config)]
        else:
            groups = [([m.parameter for m in matrices], config.weight_decay), (others, 0.0)]
            self.parts = [_adamw(groups, config)]

    def step(self, progress: float) -> Tensor:
        """Clips the gradient, updates, clears; returns the gradient's norm before clipping.

        ``progress`` is the share of the run that is done, 0 to 1.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        rate = self.config.learning_rate * schedule(progress, self.config)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, stored in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(stored)


def _adamw(groups: list[tuple[list[nn.Parameter], float]], config: OptimizerConfig) -> torch.optim.AdamW:
    settings = [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters]
    return torch.optim.AdamW(settings, lr=config.learning_rate, betas=config.betas, fused=True)


def schedule(progress: float, config: OptimizerConfig) -> float:
    """Factor of the peak rate after the share ``progress`` of the steps: a linear rise, then a half cosine."""
    if progress < config.warmup:
        return progress / config.warmup
    fall = (progress - config.warmup) / (1 - config.warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * fall))


def block_matrices(model: nn.Module) -> list[Matrix]:
    """The weight matrices of a Transformer's blocks; modality-specific layers hold three in each.

    The norm in front of a matrix tells how many there are: it has one weight for each channel of each expert.
    """
    parameters = dict(model.named_parameters())
    matrices = []
    for name, parameter in parameters.items():
        if name.startswith("block.") and parameter.ndim == 2:
            room = name.rsplit(".", 2)[0]
            norm = parameters[f"{room}.pre_norm.weight"].numel()
            matrices.append(Matrix(parameter, norm // _width(parameters, room)))
    return matrices


def _width(parameters: dict[str, nn.Parameter], room: str) -> int:
    """Channels of the stream: the columns of the matrix that reads it."""
    reader = "linear_qkv" if room.endswith("attention") else "up_gate_proj"
    return parameters[f"{room}.{reader}.weight"].shape[1]

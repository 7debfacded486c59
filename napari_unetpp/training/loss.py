"""The loss of the paper, with a weight for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def supervised_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """½ · binary cross-entropy − Dice of one head (Zhou et al., 2018, equation 1).

    Parameters
    ----------
    logits : Tensor
        Shape ``(b, classes, *spatial)``.
    target : Tensor
        The same shape, 0 or 1.
    weight : Tensor
        Shape ``(b, 1, *spatial)``, 0 where nothing is known: such pixels count nowhere.

    Returns
    -------
    Tensor
        A scalar from −1 (all right) up. Dice is taken over the batch, per class: over a single
        patch it would jump where a patch has hardly any foreground.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    known = weight.sum().clamp_min(1.0) * logits.shape[1]
    cross_entropy = (entropy * weight).sum() / known

    probability = logits.sigmoid()
    axes = [0, *range(2, logits.ndim)]
    overlap = (probability * target * weight).sum(axes)  # (classes,)
    total = ((probability + target) * weight).sum(axes)
    dice = ((2 * overlap + 1) / (total + 1)).mean()
    return 0.5 * cross_entropy - dice


def deep_supervision_loss(
    heads: Sequence[Tensor], target: Tensor, weight: Tensor, head_weights: Sequence[float]
) -> Tensor:
    """The weighted mean of the losses of all heads; equal weights are the paper's."""
    losses = torch.stack([supervised_loss(logits, target, weight) for logits in heads])
    shares = torch.as_tensor(head_weights, device=losses.device, dtype=losses.dtype)
    return (losses * shares).sum() / shares.sum()

"""Losses of masks: each against its definition or another's code, and what they have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from drivetrain import IGNORE, MaskLoss, MaskLossConfig
from drivetrain.mask_losses import dice, lovasz_softmax

CLASSES = ("road", "car", "pole")


def loss_of(**config) -> MaskLoss:
    return MaskLoss(MaskLossConfig(**config), CLASSES)


def drawn(seed: int, size: tuple[int, int] = (8, 12), ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, len(CLASSES), *size, generator=generator)
    mask = torch.randint(len(CLASSES), (2, *size), generator=generator, dtype=torch.uint8)
    return logits, mask.masked_fill(torch.rand(2, *size, generator=generator) < ignored, IGNORE)


def mean_over_truth(score, truth: np.ndarray, said: np.ndarray) -> float:
    """The mean of ``score(hits, truth, said)`` over the classes that are there; pixels that do not count left out."""
    said, truth = said[truth != IGNORE], truth[truth != IGNORE]
    counts = [((truth == c) & (said == c), truth == c, said == c) for c in np.unique(truth)]
    return float(np.mean([score(*(x.sum() for x in three)) for three in counts]))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.95]))
def test_on_hard_predictions_lovasz_is_the_jaccard_loss_and_dice_that_of_f1(seed, ignored):
    logits, mask = drawn(seed, ignored=ignored)
    if not (mask != IGNORE).any():
        return
    said = logits.argmax(1)
    hard = F.one_hot(said, len(CLASSES)).permute(0, 3, 1, 2).float()
    jaccard = 1 - mean_over_truth(lambda hits, t, s: hits / (t + s - hits), mask.numpy(), said.numpy())
    f1 = 1 - mean_over_truth(lambda hits, t, s: 2 * hits / (t + s), mask.numpy(), said.numpy())
    assert lovasz_softmax(hard, mask).item() == pytest.approx(jaccard, abs=1e-5)
    assert dice(hard, mask).item() == pytest.approx(f1, abs=1e-5)


def test_lovasz_is_the_extension_of_the_jaccard_loss():
    """The definition (Berman et al. 2018, equations 8 and 9): pixels in falling order of error, each times what it adds."""
    logits, mask = drawn(3, (4, 5))
    p, truth = logits.softmax(1).transpose(0, 1).flatten(1).numpy(), mask.flatten().numpy()
    p, truth = p[:, truth != IGNORE], truth[truth != IGNORE]
    expected = []
    for c in range(len(CLASSES)):
        errors = np.where(truth == c, 1 - p[c], p[c])
        wrong, last, total = np.zeros(len(truth), bool), 0.0, 0.0
        for i in np.argsort(-errors):
            wrong[i] = True
            said = (truth == c) ^ wrong
            jaccard = 1 - (said & (truth == c)).sum() / (said | (truth == c)).sum()
            total, last = total + errors[i] * (jaccard - last), jaccard
        expected.append(total)
    assert lovasz_softmax(logits.softmax(1), mask).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_cross_entropy_is_torchs():
    logits, mask = drawn(1)
    total, weight = loss_of(class_weights={"pole": 4.0})(F.interpolate(logits, size=(4, 6)), mask)["cross_entropy"]
    full = F.interpolate(F.interpolate(logits, size=(4, 6)), size=mask.shape[1:], mode="bilinear")
    expected = F.cross_entropy(full, mask.long(), torch.tensor([1.0, 1, 4]), ignore_index=IGNORE)
    assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_focal_is_torchvisions():
    """Of two classes, one's logit 0, the softmax is the other's sigmoid."""
    logits, mask = torch.randn(2, 1, 8, 12), torch.randint(2, (2, 8, 12))
    loss = MaskLoss(MaskLossConfig(focal=2.0), ("no", "yes"))
    total, _ = loss.cross_entropy(torch.cat([torch.zeros_like(logits), logits], 1), mask)
    expected = sigmoid_focal_loss(logits[:, 0], mask.float(), alpha=-1, gamma=2.0, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_hardest_pixels_of_each_picture_are_learnt_from():
    logits, mask = drawn(2, (10, 10), ignored=0.0)
    every = F.cross_entropy(logits, mask.long(), reduction="none").flatten(1)
    total, weight = loss_of(hardest=0.25).cross_entropy(logits, mask)
    assert weight == 50
    assert total.item() == pytest.approx(every.topk(25, 1).values.sum().item(), rel=1e-5)


def test_a_cell_learns_the_labels_of_all_its_pixels():
    logits, mask = drawn(4, (8, 12))
    coarse = logits[:, :, ::4, ::4]
    total, weight = loss_of().cross_entropy(coarse, mask, cell=4)
    nearest = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert weight == (mask != IGNORE).sum()
    assert total.item() == pytest.approx(F.cross_entropy(nearest, mask.long(), ignore_index=IGNORE, reduction="sum").item())


@pytest.mark.parametrize("config", [{"lovasz": 1.0}, {"dice": 1.0}, {"focal": 2.0}, {"hardest": 0.3}])
def test_what_does_not_count_teaches_nothing(config):
    logits, mask = drawn(5)
    logits.requires_grad_()
    loss = loss_of(region_step=1, **config)
    sum(total for total, _ in loss(logits, mask).values()).backward()
    ignored = (mask == IGNORE)[:, None].expand_as(logits)
    assert not logits.grad[ignored].any() and logits.grad[~ignored].any()
    unlabelled = loss(logits, torch.full_like(mask, IGNORE))
    assert all(total == 0 and weight == 0 and total.requires_grad for total, weight in unlabelled.values())


def test_region_losses_look_at_the_middle_of_blocks():
    logits, mask = drawn(6, (8, 12))
    [total, weight] = loss_of(lovasz=0.5, region_step=4)(logits, mask)["lovasz"]
    expected = lovasz_softmax(logits.softmax(1)[:, :, 2::4, 2::4], mask[:, 2::4, 2::4])
    assert (total / weight).item() == pytest.approx(0.5 * expected.item(), rel=1e-5)

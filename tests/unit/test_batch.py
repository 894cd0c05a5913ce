"""Pictures as a model takes them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import IMAGENET_MEAN, IMAGENET_STD, normalise_images


def defined(images):
    """The definition, in the arithmetic that losses were recorded with."""
    scale = torch.tensor([1 / (255 * s) for s in IMAGENET_STD])
    shift = torch.tensor([-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD)])
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@given(batch=st.integers(1, 4), height=st.integers(1, 40), width=st.integers(1, 70), seed=st.integers(0, 1000))
@settings(max_examples=80)
def test_normalising_is_its_definition_to_the_bit(batch, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)
    made = normalise_images(images)
    assert torch.equal(made, defined(images)) and made.is_contiguous(memory_format=torch.channels_last)
    again = normalise_images(255 - images, out=made)
    assert again is made and torch.equal(made, defined(255 - images))

"""Tiny random models, and what is done to them."""

import pytest
import torch

from tests.lora.tiny_models import VOCABULARY, tiny_model


@pytest.fixture
def tiny():
    """`tiny("gpt2")`: see `tiny_model`."""
    return tiny_model


@pytest.fixture
def ids():
    """(3, 7) token ids, without padding."""
    return torch.randint(2, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def shake():
    """`shake(model)`: make B nonzero, and move whatever else is trained, as training would."""
    import lora

    def move(model, seed=7):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for adapter in lora.adapters(model).values():
                adapter.lora_B.copy_(torch.randn(adapter.lora_B.shape, generator=generator))
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and "lora_" not in name:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return model

    return move

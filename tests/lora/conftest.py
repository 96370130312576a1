"""Tiny random models; transformers is imported only by the tests that build one."""

import pytest
import torch

VOCABULARY = 31


@pytest.fixture
def tiny():
    """`tiny("gpt2")`: a random model of 2 layers in eval mode, the same one for the same name and seed."""

    def build(kind, seed=0, **changes):
        import transformers

        torch.manual_seed(seed)
        gpt2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY, "n_positions": 24}
        gpt2 |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "num_labels": 3}
        bert = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
        bert |= {"vocab_size": VOCABULARY, "max_position_embeddings": 24, "num_labels": 3}
        grouped = bert | {"num_attention_heads": 4, "num_key_value_heads": 2}  # W_k and W_v are oblong
        name, settings = {
            "gpt2": ("GPT2LMHeadModel", gpt2),
            "gpt2-backbone": ("GPT2Model", gpt2),
            "gpt2-classifier": ("GPT2ForSequenceClassification", gpt2),
            "bert": ("BertForSequenceClassification", bert),
            "bert-backbone": ("BertModel", bert),
            "bert-mlm": ("BertForMaskedLM", bert),
            "roberta": ("RobertaForSequenceClassification", bert),
            "xlm-roberta": ("XLMRobertaForSequenceClassification", bert),
            "gpt-neox": ("GPTNeoXForCausalLM", bert | {"rotary_pct": 0.0}),
            "llama": ("LlamaForCausalLM", grouped),
            "mistral": ("MistralForCausalLM", grouped),
            "qwen2": ("Qwen2ForCausalLM", grouped),
            "qwen3": ("Qwen3ForCausalLM", grouped | {"head_dim": 6}),  # W_q and W_o are oblong too
        }[kind]
        model_class = getattr(transformers, name)
        settings = settings | {"initializer_range": 0.2} | changes  # the usual 0.02 leaves attention flat
        model = model_class(model_class.config_class(**settings))
        with torch.no_grad():  # transformers starts biases at zero, where a wrong slice would not show
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    return build


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

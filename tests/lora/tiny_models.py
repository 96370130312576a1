"""Tiny random models of the real classes, one or more of each architecture; transformers is imported late."""

import torch
from torch import nn

VOCABULARY = 31

_IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "num_labels": 3}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY, "n_positions": 24, **_IDS}
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
_BERT |= {"vocab_size": VOCABULARY, "max_position_embeddings": 24, "num_labels": 3}
_DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 40, "vocab_size": VOCABULARY}
_DEBERTA = {"relative_attention": True, "position_buckets": 4, "pos_att_type": "p2c|c2p"}
_DEBERTA |= {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
_OPT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 33, **_IDS}
_OPT |= {"vocab_size": VOCABULARY, "max_position_embeddings": 24, "word_embed_proj_dim": 12}
_GROUPED = _BERT | {"num_attention_heads": 4, "num_key_value_heads": 2, **_IDS}  # W_k and W_v are oblong
_OBLONG = _GROUPED | {"head_dim": 6}  # W_q and W_o are oblong too
_GEMMA = _OBLONG | {"layer_types": ["sliding_attention", "full_attention"]}
_T5 = {"d_model": 16, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
_T5 |= {"vocab_size": VOCABULARY, "decoder_start_token_id": 0, "initializer_factor": 0.5, **_IDS}
_GATED = {"feed_forward_proj": "gated-gelu"}
_VIT = {"image_size": 8, "patch_size": 4}

_MODELS = {
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "gpt2-backbone": ("GPT2Model", _GPT2),
    "gpt2-classifier": ("GPT2ForSequenceClassification", _GPT2),
    "bert": ("BertForSequenceClassification", _BERT),
    "bert-backbone": ("BertModel", _BERT),
    "bert-mlm": ("BertForMaskedLM", _BERT),
    "roberta": ("RobertaForSequenceClassification", _BERT),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", _BERT),
    "distilbert": ("DistilBertForSequenceClassification", _DISTILBERT | {"num_labels": 3}),
    "deberta-v2": ("DebertaV2ForSequenceClassification", _BERT | _DEBERTA),
    "gpt-neox": ("GPTNeoXForCausalLM", _BERT | _IDS | {"rotary_pct": 0.0}),
    "opt": ("OPTForCausalLM", _OPT),
    "opt-backbone": ("OPTModel", _OPT),
    "llama": ("LlamaForCausalLM", _GROUPED),
    "llama-classifier": ("LlamaForSequenceClassification", _OBLONG),
    "mistral": ("MistralForCausalLM", _GROUPED),
    "qwen2": ("Qwen2ForCausalLM", _GROUPED),
    "qwen3": ("Qwen3ForCausalLM", _OBLONG),
    "gemma2": ("Gemma2ForCausalLM", _GEMMA),
    "gemma3": ("Gemma3ForCausalLM", _GEMMA),
    "phi3": ("Phi3ForCausalLM", _GROUPED),
    "t5": ("T5ForConditionalGeneration", _T5),
    "t5-gated": ("T5ForConditionalGeneration", _T5 | _GATED),
    "t5-encoder": ("T5EncoderModel", _T5),
    "t5-classifier": ("T5ForSequenceClassification", _T5 | _GATED),
    "vit": ("ViTForImageClassification", _BERT | _VIT),
}

KINDS = tuple(_MODELS)


def tiny_model(kind, seed=0, **changes):
    """A random model in eval mode, the same one for the same kind and seed."""
    import transformers

    torch.manual_seed(seed)
    name, settings = _MODELS[kind]
    model_class = getattr(transformers, name)
    settings = settings | {"initializer_range": 0.2} | changes  # the usual 0.02 leaves attention flat
    model = model_class(model_class.config_class(**settings))
    with torch.no_grad():  # transformers starts biases at zero, where a wrong slice would not show
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def forward(model, ids):
    """The first of the model's outputs, for token ids: a ViT is given pixels of them."""
    if model.config.model_type == "vit":
        pixels = nn.functional.one_hot(ids, VOCABULARY).to(model.dtype).flatten(1)[:, : 3 * 8 * 8]
        return model(pixels.view(-1, 3, 8, 8)).logits
    if hasattr(model, "classification_head"):
        return model(nn.functional.pad(ids, (0, 1), value=model.config.eos_token_id)).logits
    if model.config.is_encoder_decoder:
        return model(ids, decoder_input_ids=ids.flip(1)).logits
    return model(ids)[0]

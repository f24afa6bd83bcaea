"""A tiny random checkpoint of a family that only the second version stack exports: Mamba layers beside attention."""

from pathlib import Path

from tests.helpers.tiny_llama import write_tiny_tokenizer


def write_tiny_granite_hybrid(folder: Path) -> Path:
    """Write a random granitemoehybrid checkpoint into `folder` (made when missing) and return the folder."""
    import torch
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder, 384)
    torch.manual_seed(7)
    config = GraniteMoeHybridConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        layer_types=["mamba", "attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=64,
        mamba_n_heads=4,
        mamba_d_head=32,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_expand=2,
        mamba_chunk_size=16,
        vocab_size=384,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    GraniteMoeHybridForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder

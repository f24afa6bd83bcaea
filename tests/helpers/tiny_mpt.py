"""A tiny random MPT checkpoint: its ALiBi attention is what paged attention computes wrongly."""

from pathlib import Path

from tests.helpers.tiny_llama import write_tiny_tokenizer


def write_tiny_mpt(folder: Path) -> Path:
    """Write the checkpoint into `folder` (made when missing) and return the folder."""
    import torch
    from transformers import MptConfig, MptForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder, 384)
    torch.manual_seed(7)
    config = MptConfig(
        d_model=128,
        n_heads=4,
        n_layers=2,
        expansion_ratio=2,
        max_seq_len=512,
        vocab_size=384,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    MptForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder

"""A tiny random checkpoint whose modelling code is in no library but comes with it, as many do on the hub."""

import json
import textwrap
from pathlib import Path

from tests.helpers.tiny_llama import write_tiny_tokenizer

#: Of a family that optimum-intel exports and whose code is on the hub only.
MODEL_TYPE = "orion"
_CONFIGURATION = """
from transformers import LlamaConfig


class OrionConfig(LlamaConfig):
    model_type = "orion"
"""
#: Every run of this code leaves a line in a file; the gain is what tells its answers from a llama's.
_MODELLING = """
import os
import sys
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, LlamaModel

from .configuration_orion import OrionConfig

with Path({ran_file!r}).open("a") as ran:
    ran.write(f"{{os.getpid()}} {{sys.argv[0]}}\\n")


class OrionModel(LlamaModel):
    config_class = OrionConfig

    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(config.hidden_size))

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        return super().forward(inputs_embeds=inputs_embeds * self.gain, **options)


class OrionForCausalLM(LlamaForCausalLM):
    config_class = OrionConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = OrionModel(config)
        self.post_init()
"""


def write_tiny_remote_code(folder: Path, ran_file: Path) -> Path:
    """Write the checkpoint into `folder` (made when missing) and return the folder.

    `ran_file` gets a line whenever the code is run.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder, 384)
    torch.manual_seed(7)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=384,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    llama = LlamaForCausalLM(config)
    llama.model.register_parameter("gain", torch.nn.Parameter(torch.randn(64)))
    llama.to(torch.bfloat16).save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values |= {
        "model_type": MODEL_TYPE,
        "architectures": ["OrionForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_orion.OrionConfig",
            "AutoModelForCausalLM": "modeling_orion.OrionForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    (folder / "configuration_orion.py").write_text(textwrap.dedent(_CONFIGURATION), "utf-8")
    (folder / "modeling_orion.py").write_text(_MODELLING.format(ran_file=str(ran_file)), "utf-8")
    return folder

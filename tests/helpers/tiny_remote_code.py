"""A tiny random checkpoint whose modelling code is in no library but comes with it, as many do on the hub."""

import json
from pathlib import Path

from tests.helpers.tiny_checkpoints import random_model, write_checkpoint

_CONFIGURATION = """
from transformers import LlamaConfig


class OwnConfig(LlamaConfig):
    model_type = {model_type!r}
"""
#: Every run of this code leaves a line in a file; the gain is what tells its answers from a llama's.
_MODELLING = """
import os
import sys
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, LlamaModel

from .configuration_own import OwnConfig

with Path({ran_file!r}).open("a") as ran:
    ran.write(f"{{os.getpid()}} {{sys.argv[0]}}\\n")


class OwnModel(LlamaModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(config.hidden_size))

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        return super().forward(inputs_embeds=inputs_embeds * self.gain, **options)


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = OwnModel(config)
        self.post_init()
"""


def write_tiny_remote_code(folder: Path, model_type: str, ran_file: Path) -> Path:
    """Write the checkpoint into `folder` (made when missing) and return the folder.

    `model_type` is of a family that optimum-intel exports and whose code no library has. `ran_file` gets a line
    whenever the code is run.
    """
    import torch

    llama = random_model(
        "llama",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    llama.model.register_parameter("gain", torch.nn.Parameter(torch.randn(64)))
    write_checkpoint(llama, folder)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values |= {
        "model_type": model_type,
        "torch_dtype": "bfloat16",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    (folder / "configuration_own.py").write_text(_CONFIGURATION.format(model_type=model_type), "utf-8")
    (folder / "modeling_own.py").write_text(_MODELLING.format(ran_file=str(ran_file)), "utf-8")
    return folder

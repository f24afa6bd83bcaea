"""The version stacks as they are installed: each can be imported over the one base environment."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from converter_worker.stage_environment import stage_environment
from converter_worker.version_stacks import VersionStacks
from shared.catalog.stacks import load_stacks
from shared.settings import ConverterSettings
from tests.helpers.tiny_checkpoints import write_tiny_llama

pytestmark = pytest.mark.connected

#: `test_unusual_families.py` does more than import these.
CONVERTED_WITH = ("transformers-5.5.4", "transformers-4.53.3")
#: What every stage of a conversion stands on, from where, and what it says of a checkpoint that lacks a layer.
SEEN = """
import json, sys
from optimum.exporters.openvino import main_export
import huggingface_hub, tokenizers, torch, transformers
from transformers import AutoTokenizer, LlamaForCausalLM
from converter_worker.package_versions import package_versions
from converter_worker.stages.whole_weights import whole_weights
from shared.errors import SourceCorrupt
seen = {"versions": package_versions(), "transformers": transformers.__file__, "torch": torch.__file__}
try:
    with whole_weights():
        LlamaForCausalLM.from_pretrained(sys.argv[1])
except SourceCorrupt as error:
    seen["error"] = error.message
print(json.dumps(seen))
"""


def test_every_stack_is_installed() -> None:
    assert VersionStacks(ConverterSettings().stacks_path).installed() == {stack.name for stack in load_stacks().stacks}


def test_a_stack_is_imported_over_the_base_environment(tmp_path: Path) -> None:
    source = write_tiny_llama(tmp_path / "llama")
    config = json.loads((source / "config.json").read_text("utf-8"))
    (source / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}), "utf-8")
    stacks = VersionStacks(ConverterSettings().stacks_path)
    names = [stack.name for stack in load_stacks().stacks[1:] if stack.name not in CONVERTED_WITH]
    overlays = [overlay for name in names if (overlay := stacks.overlay(name)) is not None]
    imports = [
        subprocess.Popen(
            [sys.executable, "-c", SEEN, str(source)], env=stage_environment(overlay=overlay), stdout=subprocess.PIPE
        )
        for overlay in overlays
    ]
    for name, overlay, importing in zip(names, overlays, imports, strict=True):
        output, _ = importing.communicate(timeout=100)
        assert importing.returncode == 0, name
        _check(name, overlay, json.loads(output.splitlines()[-1]))


def _check(name: str, overlay: Path, seen: dict[str, Any]) -> None:
    assert f"transformers-{seen['versions']['transformers']}" == name
    assert Path(seen["transformers"]).is_relative_to(overlay.resolve())
    assert "lacks 9 of the 30 weights" in seen["error"]
    assert not Path(seen["torch"]).is_relative_to(overlay.resolve())
    pinned = dict(pin.split("==") for pin in (overlay / "stack.lock").read_text("utf-8").split() if "==" in pin)
    assert {pin: seen["versions"].get(pin, version) for pin, version in pinned.items()} == pinned

"""What is read from a folder of ready-made IR, and what is said of one that is not whole."""

import json
from pathlib import Path

import pytest

from converter_worker.ir_facts import check_weights, read_ir_facts
from shared.errors import PlatformError, SourceCorrupt
from shared.schemas.models import Recipe

CONSTANT = '<layer type="Const"><data element_type="{}" shape="8" offset="{}" size="{}" /></layer>\n'
RT_INFO = """<rt_info>
  <Runtime_version value="2025.1.0" />
  <nncf>
    <version value="2.16.0" />
    <weight_compression>
      <mode value="{mode}" /><group_size value="{group}" /><ratio value="{ratio}" />
      <awq value="False" /><scale_estimation value="True" />
    </weight_compression>
  </nncf>
  <optimum><optimum_intel_version value="1.23.0" /><transformers_version value="4.51.3" /></optimum>
</rt_info>
"""


def write_ir(folder: Path, sizes: dict[str, int], rt_info: str = "") -> Path:
    folder.mkdir()
    constants, at = "", 0
    for element_type, size in sizes.items():
        constants += CONSTANT.format(element_type, at, size)
        at += size
    (folder / "openvino_model.xml").write_text(f"<net>\n<layers>{constants}</layers>\n{rt_info}</net>\n")
    (folder / "openvino_model.bin").write_bytes(b"\0" * at)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


INT4 = {"u4": 6000, "u8": 3000, "f16": 500}


@pytest.mark.parametrize(
    ("mode", "recipe"),
    [
        ("int4_asym", Recipe(sym=False, group_size=128, ratio=0.8)),
        ("int4_sym", Recipe(sym=True, group_size=128, ratio=0.8)),
        ("CompressWeightsMode.INT4_SYM", Recipe(sym=True, group_size=128, ratio=0.8)),
    ],
)
def test_the_recipe_is_read_from_the_ir(tmp_path: Path, mode: str, recipe: Recipe) -> None:
    facts = read_ir_facts(write_ir(tmp_path / "ir", INT4, RT_INFO.format(mode=mode, group=128, ratio=0.8)))
    assert (facts.weight_format, facts.recipe, facts.recipe_origin) == ("int4", recipe, "rt_info")
    assert facts.methods == ("scale_estimation",)
    assert facts.versions == {
        "openvino": "2025.1.0", "nncf": "2.16.0", "optimum-intel": "1.23.0", "transformers": "4.51.3"
    }  # fmt: skip


def test_the_recipe_is_read_from_the_file_beside_an_ir_that_does_not_say(tmp_path: Path) -> None:
    folder = write_ir(tmp_path / "ir", INT4)
    said = {"bits": 4, "sym": False, "group_size": 64, "ratio": 1.0, "dataset": None, "quant_method": "awq"}
    (folder / "openvino_config.json").write_text(json.dumps({"dtype": "int4", "quantization_config": said}))
    facts = read_ir_facts(folder)
    assert (facts.recipe, facts.recipe_origin) == (Recipe(sym=False, group_size=64, ratio=1.0), "openvino_config")
    assert facts.methods == ("awq",)


@pytest.mark.parametrize(
    ("sizes", "weight_format", "precision"),
    [
        ({"u4": 600, "u8": 3000}, "int4", "u4"),
        ({"i8": 3000, "f16": 500}, "int8", "i8"),
        ({"f16": 3000, "u8": 50}, "fp16", "f16"),
        ({"f32": 3000}, "fp16", "f32"),
        ({"nf4": 3000, "f16": 100}, "int4", "nf4"),
    ],
)
def test_without_a_word_the_weights_tell_the_format(
    tmp_path: Path, sizes: dict[str, int], weight_format: str, precision: str
) -> None:
    facts = read_ir_facts(write_ir(tmp_path / "ir", sizes))
    assert (facts.weight_format, facts.recipe, facts.recipe_origin) == (weight_format, Recipe(), "weights")
    assert facts.precision == precision or "u4" in sizes


@pytest.mark.parametrize(
    ("damage", "code", "advice"),
    [
        ("no description", "source_not_found", "ovchat convert"),
        ("several parts", "source_not_found", "Only models of text"),
        ("cut description", "source_corrupt", "Copy or download the folder again"),
        ("no config", "source_not_found", "copy the one of the source model"),
        ("broken config", "source_corrupt", "config.json"),
        ("no tokenizer", "tokenizer_missing", "copy tokenizer.json"),
        ("no weights", "source_corrupt", "missing: 0 of 9500 bytes"),
        ("cut weights", "source_corrupt", "not completely copied: 4000 of 9500 bytes"),
    ],
)
def test_what_is_missing_or_damaged_is_named_with_what_to_do(
    tmp_path: Path, damage: str, code: str, advice: str
) -> None:
    folder = write_ir(tmp_path / "ir", INT4)
    description = folder / "openvino_model.xml"
    match damage:
        case "no description":
            description.unlink()
        case "several parts":
            description.rename(folder / "openvino_language_model.xml")
        case "cut description":
            description.write_text(description.read_text()[:-20])
        case "no config":
            (folder / "config.json").unlink()
        case "broken config":
            (folder / "config.json").write_text("{")
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "no weights":
            (folder / "openvino_model.bin").unlink()
        case "cut weights":
            (folder / "openvino_model.bin").write_bytes(b"\0" * 4000)
    with pytest.raises(PlatformError) as refused:
        check_weights(folder, read_ir_facts(folder))
    assert refused.value.code == code
    assert advice in refused.value.message


def test_an_ir_without_weights_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceCorrupt):
        read_ir_facts(write_ir(tmp_path / "ir", {}))

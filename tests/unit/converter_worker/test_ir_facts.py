"""What is read from a folder of ready-made IR, and what is said of one that is not whole."""

import json
from pathlib import Path

import pytest

from converter_worker.ir_facts import check_weights, read_ir_facts
from converter_worker.ir_recipe import IrRecipe
from shared.errors import PlatformError, SourceCorrupt
from shared.schemas.models import Recipe

CONSTANT = '<layer type="Const"><data element_type="{}" shape="8" offset="{}" size="{}" /></layer>\n'
RT_INFO = """<rt_info>
  <Runtime_version value="2025.1.0" />
  <nncf>
    <version value="2.16.0" />
    <weight_compression>
      <mode value="{mode}" /><group_size value="{group}" /><ratio value="{ratio}" />
      <awq value="True" /><scale_estimation value="True" /><gptq value="False" /><lora_correction value="{lora}" />
      <backup_mode value="{backup}" /><ignored_scope><names value="['a/MatMul', 'b']" /></ignored_scope>
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


SAID = Recipe(
    sym=False,
    group_size=128,
    ratio=0.8,
    awq=True,
    scale_estimation=True,
    backup_precision="int8_sym",
    ignored_layers=("a/MatMul", "b"),
)


@pytest.mark.parametrize(
    ("noted", "changed"),
    [
        ({"mode": "int4_asym"}, {}),
        ({"mode": "int4_sym", "backup": "none"}, {"sym": True, "backup_precision": "none"}),
        ({"mode": "CompressWeightsMode.INT4_SYM", "backup": "BackupMode.INT8_SYM"}, {"sym": True}),
        # What a recipe cannot say, or what nobody can read, does not take the rest away.
        ({"mode": "nf4", "backup": "fp9", "ratio": "much"}, {"sym": None, "backup_precision": None, "ratio": None}),
    ],
)
def test_the_recipe_is_read_from_the_ir(tmp_path: Path, noted: dict[str, str], changed: dict[str, object]) -> None:
    values = {"group": 128, "ratio": 0.8, "backup": "int8_sym", "lora": False, **noted}
    facts = read_ir_facts(write_ir(tmp_path / "ir", INT4, RT_INFO.format(**values)))
    assert facts.weight_format == "int4"
    assert facts.said == IrRecipe(SAID.model_copy(update=changed), "rt_info")
    assert facts.versions == {
        "openvino": "2025.1.0", "nncf": "2.16.0", "optimum-intel": "1.23.0", "transformers": "4.51.3"
    }  # fmt: skip


def test_a_method_that_no_recipe_has_is_named_beside_it(tmp_path: Path) -> None:
    rt_info = RT_INFO.format(mode="int8_asym", group=-1, ratio=1.0, backup="int8_asym", lora=True)
    facts = read_ir_facts(write_ir(tmp_path / "ir", {"u8": 3000}, rt_info))
    assert facts.said == IrRecipe(
        Recipe(sym=False, ignored_layers=SAID.ignored_layers), "rt_info", ("lora_correction",)
    )


def test_the_recipe_is_read_from_the_file_beside_an_ir_that_does_not_say(tmp_path: Path) -> None:
    folder = write_ir(tmp_path / "ir", INT4)
    said = {"bits": 4, "sym": False, "group_size": 64, "ratio": 1.0, "quant_method": "awq", "gptq": True}
    texts = {"dataset": "wikitext2", "num_samples": 128, "backup_precision": "int8_asym", "scale_estimation": None}
    config = folder / "openvino_config.json"
    config.write_text(json.dumps({"dtype": "int4", "quantization_config": {**said, **texts}}))
    recipe = Recipe(
        sym=False,
        group_size=64,
        ratio=1.0,
        backup_precision="int8_asym",
        awq=True,
        gptq=True,
        dataset="wikitext2",
        samples=128,
    )
    assert read_ir_facts(folder).said == IrRecipe(recipe, "openvino_config")
    # A set that the platform does not know is nobody's loss.
    config.write_text(json.dumps({"quantization_config": {**said, **texts, "dataset": "c4"}}))
    without = recipe.model_copy(update={"dataset": None, "samples": None})
    assert read_ir_facts(folder).said.recipe == without


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
    assert (facts.weight_format, facts.said) == (weight_format, IrRecipe(Recipe(), "weights"))
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

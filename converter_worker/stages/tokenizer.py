"""Tokenizer: everything that encodes, decodes and renders, written without the code that came with a model."""

import json
from pathlib import Path
from typing import Any

from converter_worker.model_code import is_refused_code, remote_code_needed
from converter_worker.redaction import first_line
from converter_worker.stages.chat_files import ChatFacts, write_chat_files
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.tokenizer_ir import TOKENIZER_IR_FILES, keep_tokenizer_ir
from shared.errors import TokenizerMissing


class Arguments(StageMessage):
    """`source_dir`: checkpoint folder; `output_dir`: made here, must not exist.

    `ir_dir`: a folder whose tokenizer IR is kept, where there is one that says the same as the tokenizer's files.
    """

    source_dir: Path
    output_dir: Path
    ir_dir: Path | None = None
    trust_remote_code: bool = False
    chat: ChatFacts = ChatFacts()


class Result(StageMessage):
    """`has_chat_template`: whether messages can be rendered; `stop_token_ids`: what the catalogue ends answers with."""

    eos_token_id: int | None
    has_chat_template: bool
    stop_token_ids: tuple[int, ...] = ()
    ir_kept: bool = False


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Write tokenizer.json with its configuration, and the tokenizer and detokenizer IR.

    Raises:
        TokenizerMissing: there is none, or no fast one can be made of it.
    """
    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    report(0.1, "loading the tokenizer")
    tokenizer = _load_fast(arguments)
    stop_token_ids = write_chat_files(tokenizer, arguments.chat, arguments.output_dir)
    tokenizer.save_pretrained(arguments.output_dir)
    if not (arguments.output_dir / "tokenizer.json").is_file():
        raise TokenizerMissing("The model's tokenizer cannot be written as tokenizer.json, which inference reads.")
    eos_token_id, has_template = tokenizer.eos_token_id, bool(tokenizer.chat_template)
    report(0.3, "converting the tokenizer")
    kept = arguments.ir_dir is not None and keep_tokenizer_ir(arguments.ir_dir, arguments.output_dir)
    if not kept:
        _write_ir(tokenizer, arguments.output_dir)
    report(1.0, "tokenizer written")
    return Result(
        eos_token_id=eos_token_id, has_chat_template=has_template, stop_token_ids=stop_token_ids, ir_kept=kept
    )


def _load_fast(arguments: Arguments) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer

    options: dict[str, Any] = {"trust_remote_code": arguments.trust_remote_code}
    # A checkpoint saved by transformers 5 names a class that version 4 does not have; this is what it means.
    loader = PreTrainedTokenizerFast if _tokenizer_class(arguments.source_dir) == "TokenizersBackend" else AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(str(arguments.source_dir), **options)
    except (OSError, ValueError, TypeError, ImportError, KeyError, AttributeError) as error:
        if is_refused_code(error):
            raise remote_code_needed() from error
        raise TokenizerMissing(f"The model has no tokenizer that can be loaded: {first_line(error)}") from error
    if tokenizer.is_fast:
        return tokenizer
    try:
        backend = convert_slow_tokenizer(tokenizer)
    except (ValueError, ImportError, AttributeError) as error:
        raise TokenizerMissing(
            f"No fast tokenizer can be made of {type(tokenizer).__name__}: {first_line(error)}"
        ) from error
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=tokenizer.chat_template, **tokenizer.special_tokens_map
    )


def _write_ir(tokenizer: Any, output_dir: Path) -> None:
    from optimum.exporters.openvino.convert import export_tokenizer

    # The exporter logs why a conversion did not work and goes on; the files tell.
    export_tokenizer(tokenizer, output_dir, task="text-generation-with-past")
    missing = [name for name in TOKENIZER_IR_FILES if not (output_dir / name).is_file()]
    if missing:
        raise TokenizerMissing(
            f"{type(tokenizer).__name__} cannot be converted to OpenVINO: {', '.join(missing)} was not written."
        )


def _tokenizer_class(source_dir: Path) -> str | None:
    config_file = source_dir / "tokenizer_config.json"
    if not config_file.is_file():
        return None
    config = json.loads(config_file.read_text("utf-8"))
    name = config.get("tokenizer_class")
    return name if isinstance(name, str) else None

"""What a GGUF file says about its tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from converter_worker.gguf_file import GgufFile
from shared.errors import TokenizerMissing

#: ``gpt2``: byte-level BPE with merges; ``llama``: SentencePiece with a score for each token.
TokenizerModel = Literal["gpt2", "llama"]


@dataclass(frozen=True)
class GGUFVocabulary:
    """Token ids index `tokens`; `adds_bos` is None where the file leaves it to the tokenizer's kind."""

    model: TokenizerModel
    pre_tokenizer: str
    tokens: Sequence[str]
    token_types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    bos_token_id: int | None
    eos_token_id: int
    unknown_token_id: int | None
    padding_token_id: int | None
    chat_template: str | None
    context_length: int
    adds_bos: bool | None = None
    adds_prefix_space: bool = True


def read_vocabulary(file: GgufFile) -> GGUFVocabulary:
    """Read the tokenizer's fields.

    Raises:
        TokenizerMissing: the file has none, or one of a kind that is not known here.
    """
    architecture = file.read("general.architecture", str)
    model = file.find("tokenizer.ggml.model", str)
    if model not in ("gpt2", "llama"):
        raise TokenizerMissing(
            f"{file.path.name} has {'no tokenizer' if model is None else f'a tokenizer of the kind {model!r}'}. What "
            "works: byte-level BPE ('gpt2') and SentencePiece ('llama'), or the model's own checkpoint.",
            param="source_model",
        )
    return GGUFVocabulary(
        model="gpt2" if model == "gpt2" else "llama",
        pre_tokenizer=file.find("tokenizer.ggml.pre", str) or "",
        tokens=file.read("tokenizer.ggml.tokens", list),
        token_types=file.find("tokenizer.ggml.token_type", list) or (),
        merges=file.find("tokenizer.ggml.merges", list) or (),
        scores=file.find("tokenizer.ggml.scores", list) or (),
        bos_token_id=file.find("tokenizer.ggml.bos_token_id", int),
        eos_token_id=file.read("tokenizer.ggml.eos_token_id", int),
        unknown_token_id=file.find("tokenizer.ggml.unknown_token_id", int),
        padding_token_id=file.find("tokenizer.ggml.padding_token_id", int),
        chat_template=file.find("tokenizer.chat_template", str),
        context_length=file.read(f"{architecture}.context_length", int),
        adds_bos=file.find("tokenizer.ggml.add_bos_token", bool),
        adds_prefix_space=file.find("tokenizer.ggml.add_space_prefix", bool) is not False,
    )

"""A variant's IR on the CPU, asked directly: the next token's logits, without an engine around it."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from converter_worker.stages.ir_files import MODEL_NAME
from shared.errors import VerificationFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: As a chat of one user wants it.
LATENCY = {"PERFORMANCE_HINT": "LATENCY"}
#: Nothing is rounded on the way: what differs between two variants is their weights.
EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "PERFORMANCE_HINT": "LATENCY",
}


class CompiledVariant:
    """A loaded IR with one infer request; `properties` are those of the CPU plug-in."""

    def __init__(self, folder: Path, properties: dict[str, str]) -> None:
        """Load it.

        Raises:
            VerificationFailed: OpenVINO cannot.
        """
        import openvino

        try:
            self._model = openvino.Core().compile_model(folder / f"{MODEL_NAME}.xml", "CPU", properties)
        except RuntimeError as error:
            raise VerificationFailed(f"OpenVINO cannot load the variant: {str(error).splitlines()[0][:300]}") from error
        self._inputs = {port.get_any_name() for port in self._model.inputs}
        self._request = self._model.create_infer_request()

    def logits(self, token_ids: list[int]) -> "NDArray[np.float32]":
        """Return the logits of the token after each of these, tokens × vocabulary, valid until the next call.

        Raises:
            VerificationFailed: some are no numbers.
        """
        self._request.reset_state()
        return self._step(token_ids, 0)

    def generate(self, prompt_ids: list[int], new_tokens: int) -> list[int]:
        """Return the greedy continuation, not stopped by any token.

        Raises:
            VerificationFailed: the model computes something that is no number.
        """
        return list(itertools.islice(self.tokens(prompt_ids), new_tokens))

    def tokens(self, prompt_ids: list[int]) -> Iterator[int]:
        """Yield the tokens of the greedy continuation without an end, each computed when it is asked for."""
        self._request.reset_state()
        step_ids, past = list(prompt_ids), 0
        while True:
            logits = self._step(step_ids, past)
            past += len(step_ids)
            step_ids = [int(logits[-1].argmax())]
            yield step_ids[0]

    def _step(self, token_ids: list[int], past: int) -> "NDArray[np.float32]":
        import numpy as np

        self._request.infer(self._offered(token_ids, past), share_inputs=True)
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data[0]
        if not np.isfinite(logits).all():
            raise VerificationFailed("The variant computes values that are not numbers (NaN or infinite).")
        return logits

    def _offered(self, token_ids: list[int], past: int) -> dict[str, "NDArray[np.int64] | NDArray[np.int32]"]:
        """Return the inputs of one step that this model takes; families differ in whether they want positions."""
        return {name: value for name, value in step_inputs(token_ids, past).items() if name in self._inputs}


def step_inputs(token_ids: list[int], past: int) -> dict[str, "NDArray[np.int64] | NDArray[np.int32]"]:
    """Return every input that a language model may take, for tokens that follow `past` others."""
    import numpy as np

    end = past + len(token_ids)
    return {
        "input_ids": np.array([token_ids], dtype=np.int64),
        "attention_mask": np.ones((1, end), dtype=np.int64),
        "position_ids": np.arange(past, end, dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }

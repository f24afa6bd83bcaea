"""The bare engine in a process of its own: what the platform is measured against.

Reads one JSON list of prompts (token ids) a line, runs them at once through ``ContinuousBatchingPipeline.generate``
with the library's default scheduler, and answers ``{"tokens", "seconds"}``.
"""

import json
import sys
import time

import numpy as np
import openvino
import openvino_genai


def main() -> None:
    """Serve lines until standard input ends."""
    folder, max_new_tokens, eos_token_id = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2
    pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", {})
    config = openvino_genai.GenerationConfig(max_new_tokens=max_new_tokens)
    config.stop_token_ids = {eos_token_id}
    for line in sys.stdin:
        prompts = [openvino.Tensor(np.asarray([ids])) for ids in json.loads(line)]
        started = time.perf_counter()
        results = pipeline.generate(prompts, [config] * len(prompts))
        seconds = time.perf_counter() - started
        tokens = sum(len(result.m_generation_ids[0]) for result in results)
        sys.stdout.write(json.dumps({"tokens": tokens, "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Models that recite a text, for the page's tests: the `sample` engine says it token by token."""

import json

from tests.helpers.pool import Pool
from tests.helpers.variants import publish_sample_variant

MARKDOWN = (
    "A **short** list:\n\n1. count\n2. print\n\n```python\nprint(len(words))\n```\n\n| a | b |\n|--|--:|\n| x | 12 |"
)
JAPANESE = "素数とは、**1とその数だけ**で割り切れる数です。"
HOSTILE = (
    "[four](https://example.org) <script>window.hit=1</script><img src=x onerror='window.hit=2'>"
    "<svg onload='window.hit=3'></svg>"
    "[one](javascript:window.hit=4) [two](data:text/html,x) ![three](data:image/svg+xml,x)"
)
#: What a variant could be called in an index that somebody wrote into by hand.
HOSTILE_NAME = "<img src=x onerror=window.hit=5>"
SLOW = " ".join(f"part-{number}" for number in range(25))


def publish_reciters(pool: Pool) -> None:
    """Publish the reciters; two are in the catalogue, so that they have languages, and one takes long to load."""
    for model, options in {
        "qwen2-0.5b-instruct": {"replay_text": MARKDOWN},
        "youri-7b-chat": {"replay_text": JAPANESE},
        "hostile": {"replay_text": HOSTILE},
        "slow": {"tokens_per_second": 60, "replay_text": SLOW},
        "lazy": {"start_seconds": 3, "replay_text": "At last."},
    }.items():
        publish_sample_variant(pool.store_path, pool.redis_url, model=model)
        (pool.store_path / model / "int4" / "sample_engine.json").write_text(json.dumps(options))
    publish_sample_variant(pool.store_path, pool.redis_url, model="slow", variant="int8")

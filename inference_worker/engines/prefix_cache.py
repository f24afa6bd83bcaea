"""Follows what a paged engine's prefix cache holds: the runtime does not tell how much of a prompt it reused."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Live:
    token_ids: list[int]
    blocks: list[int] = field(default_factory=list)
    """Names of the whole blocks that are computed."""
    computed: bool = False


class PrefixCache:
    """Whole blocks of computed tokens, the longest unused forgotten first.

    It never claims more than the engine reuses: the engine may also reuse a part of a block, and blocks of a prompt
    that is still being computed. All methods name a sequence by its id.
    """

    def __init__(self, *, capacity_blocks: int, block_tokens: int) -> None:
        self._capacity = capacity_blocks
        self._block_tokens = block_tokens
        self._live: dict[str, _Live] = {}
        self._held: Counter[int] = Counter()
        """How many running sequences hold a computed block."""
        self._released: OrderedDict[int, None] = OrderedDict()
        self._ends: OrderedDict[tuple[int, tuple[int, ...]], None] = OrderedDict()
        """Where ended sequences stopped inside a block: the name of the block before, and the tokens in it."""

    def shared_end(self, token_ids: Sequence[int]) -> tuple[int, tuple[int, ...]] | None:
        """Return the partly filled block of an ended sequence that this prompt goes on in; None where there is none.

        The runtime lets a prompt go on in such a block. Two prompts that begin in one step would both get it, and
        write over one another.
        """
        size = self._block_tokens
        names = (0, *self._names(token_ids, 0, 0))
        for at in range(len(names) - 1, -1, -1):
            rest = tuple(token_ids[at * size : (at + 1) * size])
            for length in range(min(len(rest), size - 1), 0, -1):
                if (names[at], rest[:length]) in self._ends:
                    return names[at], rest[:length]
        return None

    def add(self, sequence_id: str, token_ids: Sequence[int]) -> int:
        """Begin a sequence; return how many tokens of its prompt need not be computed, always less than all."""
        live = _Live(list(token_ids))
        for name in self._names(live.token_ids, 0, 0):
            if name not in self._held and name not in self._released:
                break
            self._hold(live, name)
        self._live[sequence_id] = live
        self._forget()
        return min(len(live.blocks) * self._block_tokens, len(token_ids) - 1)

    def generated(self, sequence_id: str, token_ids: Sequence[int]) -> None:
        """Take tokens that the engine made; the first ones tell that the prompt is computed."""
        live = self._live.get(sequence_id)
        if live is None or not token_ids:
            return
        # A token's own attention state is computed in the step after the one that made it.
        computed = len(live.token_ids) + len(token_ids) - 1
        live.token_ids.extend(token_ids)
        live.computed = True
        parent = live.blocks[-1] if live.blocks else 0
        for name in self._names(live.token_ids[:computed], len(live.blocks), parent):
            self._hold(live, name)
        self._forget()

    def release(self, sequence_id: str) -> None:
        """End a sequence. What it computed stays until the room is needed."""
        live = self._live.pop(sequence_id, None)
        if live is None:
            return
        # The engine forgets the first blocks of a sequence first, and so all of it at once.
        for name in live.blocks:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
                self._released[name] = None
        if live.computed and len(live.token_ids) % self._block_tokens:
            # The last block is not whole and is never found here, but it takes its place.
            self._released[hash((live.blocks[-1] if live.blocks else 0, len(live.token_ids), "part"))] = None
        if live.computed:
            self._remember_end(live)
        self._forget()

    def _remember_end(self, live: _Live) -> None:
        names = (0, *self._names(live.token_ids, 0, 0))
        rest = tuple(live.token_ids[(len(names) - 1) * self._block_tokens :])
        # Whether the last token, whose attention state was never needed, counts is the runtime's affair.
        for tokens in (rest, rest[:-1]):
            if tokens:
                self._ends[names[-1], tokens] = None
                self._ends.move_to_end((names[-1], tokens))
        while len(self._ends) > 2 * self._capacity:
            self._ends.popitem(last=False)

    def _names(self, token_ids: Sequence[int], first: int, parent: int) -> list[int]:
        """Each whole block's name from block `first` on; a name covers all tokens before it, too."""
        names: list[int] = []
        for at in range(first, len(token_ids) // self._block_tokens):
            parent = hash((parent, *token_ids[at * self._block_tokens : (at + 1) * self._block_tokens]))
            names.append(parent)
        return names

    def _hold(self, live: _Live, name: int) -> None:
        self._released.pop(name, None)
        self._held[name] += 1
        live.blocks.append(name)

    def _forget(self) -> None:
        # Blocks that are not whole or not computed are nobody else's.
        own = sum(-(-len(live.token_ids) // self._block_tokens) - len(live.blocks) for live in self._live.values())
        while self._released and len(self._released) + len(self._held) + own > self._capacity:
            self._released.popitem(last=False)

"""Causal language models: logits after prefixes, with the keys and values of what was read kept.

A call reads what is new of its prefixes only: those of the call before, and the prompt, are known.
Prefixes of which as much is known and as much is new go together, so that nothing is padded.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

Prefix = tuple[int, ...]
Layers = list[tuple[Any, Any]]  # keys and values, of shapes (n, heads, tokens, size)


class Known(NamedTuple):
    """What is kept of a prefix."""

    layers: Layers
    logits: np.ndarray


class CausalModel:
    """A language of a causal model; ``memory`` bytes of keys and values are kept, 0 for none."""

    def __init__(
        self,
        model: Callable[..., Any],
        before: Prefix,
        rows: int,
        memory: int,
        temperature: float,
    ) -> None:
        self.model, self.before, self.rows = model, before, rows
        self.memory, self.temperature = memory, temperature
        self._begin()

    def __repr__(self) -> str:
        """The kind of model."""
        return f"huggingface({type(self.model).__name__})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def _begin(self) -> None:
        kinds = type(self.model).__mro__
        self._torch = any(kind.__module__.split(".")[0] == "torch" for kind in kinds)
        takes = _arguments(self.model.forward if self._torch else self.model)  # type: ignore[attr-defined]
        names = [name for name in ("past_key_values", "cache") if name in takes]
        self._past = names[0] if names and self.memory else ""
        self._use = {"use_cache": True} if "use_cache" in takes else {}
        self._here = threading.local()

    def logits(self, prefixes: list[Prefix]) -> np.ndarray:
        """Logits of the next item, shape (n, V)."""
        found = self._from_kept(prefixes) if self._past else None
        return (self._anew(prefixes) if found is None else found) / self.temperature

    # all of every prefix

    def _anew(self, prefixes: list[Prefix]) -> np.ndarray:
        texts = [(*self.before, *p) for p in prefixes]
        # equal lengths together, so that little is padded
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for at in range(0, len(order), self.rows):
            chosen = [texts[i] for i in order[at : at + self.rows]]
            lengths = np.array([len(t) for t in chosen])
            ids = np.zeros((len(chosen), lengths.max()), dtype=np.int64)
            mask = np.arange(lengths.max()) < lengths[:, None]
            ids[mask] = [x for t in chosen for x in t]
            parts.append(self._call(ids, mask.astype(np.int64), lengths - 1, {})[0])
        found = np.concatenate(parts)
        out = np.empty_like(found)
        out[order] = found
        return out

    def _call(
        self, ids: np.ndarray, mask: np.ndarray, last: np.ndarray, more: dict[str, Any]
    ) -> tuple[np.ndarray, Any]:
        """Logits after the last token of each row, and all that the model answered."""
        rows = np.arange(len(ids))
        if not self._torch:
            given = self.model(input_ids=ids, attention_mask=mask, **more)
            return np.asarray(given.logits[rows, last], dtype=np.float64), given
        import torch

        place = next(self.model.parameters()).device  # type: ignore[attr-defined]
        with torch.inference_mode():
            given = self.model(
                input_ids=torch.from_numpy(ids).to(place),
                attention_mask=torch.from_numpy(mask).to(place),
                **more,
            )
            return given.logits[rows, last].double().cpu().numpy(), given

    # what is new of every prefix

    def _from_kept(self, prefixes: list[Prefix]) -> np.ndarray | None:
        """Logits by what is kept; None from a model whose keys and values can't be told."""
        kept: dict[Prefix, Known] = getattr(self._here, "kept", {})
        if () not in kept and not self._read([((), ())], kept, self.before):
            self._past = ""
            return None
        groups: dict[tuple[int, int], list[tuple[Prefix, Prefix]]] = {}
        for prefix in dict.fromkeys(prefixes):
            known = next(n for n in range(len(prefix), -1, -1) if prefix[:n] in kept)
            if known < len(prefix):
                pair = prefix, prefix[:known]
                groups.setdefault((known, len(prefix)), []).append(pair)
        for group in groups.values():
            for at in range(0, len(group), self.rows):
                if not self._read(group[at : at + self.rows], kept):
                    self._past = ""
                    return None
        found = np.stack([kept[prefix].logits for prefix in prefixes]) if prefixes else None
        self._here.kept = self._within({p: kept[p] for p in ((), *prefixes)})
        return found

    def _read(
        self, group: list[tuple[Prefix, Prefix]], kept: dict[Prefix, Known], new: Prefix = ()
    ) -> bool:
        """Read prefixes on from what is known of them; whether their layers could be told."""
        ids = np.array([new or prefix[len(known) :] for prefix, known in group], dtype=np.int64)
        more, size = dict(self._use), ids.shape[1]
        if not new:
            size += len(self.before) + len(group[0][1])
            more[self._past] = self._joined([kept[known].layers for _, known in group])
        last = np.full(len(group), ids.shape[1] - 1)
        mask = np.ones((len(group), size), np.int64)
        logits, given = self._call(ids, mask, last, more)
        past = getattr(given, self._past, None)
        layers = [] if past is None else _layers(past)
        if not layers or any(keys.shape[2] != size for keys, _ in layers):
            return False
        self._plain = isinstance(past, tuple | list)
        for i, (prefix, _) in enumerate(group):
            own = [(keys[i : i + 1], values[i : i + 1]) for keys, values in layers]
            kept[prefix] = Known(own, logits[i])
        return True

    def _joined(self, several: list[Layers]) -> Any:
        """The layers of several prefixes as the model takes them."""
        if self._torch:
            from torch import cat as join
        else:
            join = np.concatenate
        layers = [
            tuple(join([one[side] for one in layer]) for side in (0, 1))
            for layer in zip(*several, strict=True)
        ]
        if self._plain:
            return tuple(layers)
        from transformers import DynamicCache

        cache = DynamicCache()
        for i, (keys, values) in enumerate(layers):
            cache.update(keys, values, i)
        return cache

    def _within(self, kept: dict[Prefix, Known]) -> dict[Prefix, Known]:
        """The prompt and the newest of the rest, as far as memory goes."""
        size, out = 0, dict(list(kept.items())[:1])
        for prefix, known in reversed(kept.items()):
            size += sum(keys.nbytes + values.nbytes for keys, values in known.layers)
            if size > self.memory:
                break
            out[prefix] = known
        return out


def _arguments(function: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def _layers(past: Any) -> Layers:
    """Keys and values by layer, of any form that transformers have had; none of other models."""
    if hasattr(past, "layers"):
        found = [(getattr(one, "keys", None), getattr(one, "values", None)) for one in past.layers]
    elif hasattr(past, "key_cache"):
        found = list(zip(past.key_cache, past.value_cache, strict=True))
    else:
        found = [tuple(one[:2]) for one in past]
    whole = all(len(getattr(one, "shape", ())) == 4 for pair in found for one in pair)
    return found if whole else []

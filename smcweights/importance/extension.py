"""More calls for an estimate that there is: rounds of final draws on top of those it has."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import arguments
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import described, provenance
from .final_draws import Final, Names, further
from .integrand import Integrand

MODELS = ("model", "integrand", "limit_state")  # as methods call them


@dataclass(frozen=True)
class Source:
    """Where an estimate comes from: method, root of its streams, arguments, and later rounds."""

    method: str
    root: np.random.SeedSequence
    arguments: dict[str, object]
    rounds: tuple[int, ...] = ()

    def after(self, round: int) -> Source:
        """The same with one round more."""
        return replace(self, rounds=(*self.rounds, round))

    @property
    def provenance(self) -> dict[str, Any]:
        """As an estimate keeps it."""
        later = {"extended": list(self.rounds)} if self.rounds else {}
        return provenance(self.method, self.root, self.arguments | later)


Report = Callable[[Final, Source, float], Estimate]


@dataclass(frozen=True)
class Extension:
    """What `Estimate.extend` goes on from.

    ``caller`` gives what is called on batches for a function of the user's; ``report`` the
    estimate, from all draws, their source, and when this began. ``names`` and ``looked`` are
    `finish`'s.
    """

    final: Final
    source: Source
    caller: Callable[[Integrand], Callable[..., np.ndarray]]
    report: Report
    names: Names
    looked: bool = False

    def __call__(
        self,
        model: Integrand,
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> Estimate:
        """As `Estimate.extend`."""
        began = time.perf_counter()
        arguments.function("model", model, "of an array of inputs")
        check_same(model, self.source)
        size = arguments.count("budget", budget, self.final.least)
        with open_run(
            self.caller(model),
            executor=executor,
            progress=progress,
            seed=self.source.root,
            total=size,
            description=self.source.method,
            named="model",
        ) as run:
            final = further(self.final, run, [size], self.names, self.looked)
        return self.report(final, self.source.after(size), began)


def check_same(model: object, source: Source) -> None:
    """Refuse another model than that of the draws there are."""
    before = next(source.arguments[name] for name in MODELS if name in source.arguments)
    if described(model) != described(before):
        raise ValueError(
            "model: is not the one that was estimated, its code or what it reads differs; expected "
            "the same function"
        )

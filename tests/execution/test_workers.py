"""Workers: what they keep, and how failures come back from them."""

import sys

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import ModelError
from smcweights.execution import open_run, pools, workers

from .support import forkserver_pool, numbered


def test_more_functions_than_a_worker_keeps():
    with forkserver_pool(1) as pool:
        for _ in range(2):
            for k in range(workers.FUNCTIONS_KEPT + 2):
                large = b"x" * pools.SMALL
                with open_run(
                    lambda i, k=k, large=large: np.array(100 * k + i), executor=pool
                ) as run:
                    # more jobs than carry the function
                    assert [int(r) for r in run.map("a", numbered(7))] == [
                        100 * k + i for i in range(7)
                    ]
        kept = pool.submit(functions_kept).result()
    assert kept == workers.FUNCTIONS_KEPT


def functions_kept():
    return len(workers.FUNCTIONS)


@pytest.mark.parametrize("executor", [None, "threads:2", "processes:1"])
def test_a_function_that_ends_the_program_is_an_error_that_names_the_batch(executor):
    def function(i):
        if i == 2:
            sys.exit(f"wrong at {i}")
        return np.array(i)

    with (
        pytest.raises(ModelError, match=r"function: called sys.exit\('wrong at 2'\)") as caught,
        open_run(function, executor=executor) as run,
    ):
        run.map("a", numbered(4))
    assert "in stage 'a', batch 3" in caught.value.__notes__


def test_a_stop_iteration_of_a_function_is_its_error():
    def function(i):
        return np.array(next(iter([i][i:])))

    with (
        pytest.raises(ModelError, match=r"^function: raised StopIteration") as caught,
        open_run(function) as run,
    ):
        run.map("a", numbered(4))
    assert "in stage 'a', batch 2" in caught.value.__notes__


def stops(*_, **__):
    sys.exit(3)


class Stopping:
    """A law whose draws end the program."""

    rvs, logpdf, cdf = stops, stops, stops


LAW = [stats.norm(), stats.norm()]
COIN = smw.languages.markov_chain([0.5, 0.5], np.full((2, 2), 0.5))
CLOUD = np.arange(12.0).reshape(6, 2)
EXITS = {
    "integrand": lambda **how: smw.adaptive_importance_sampling(stops, LAW, 300, **how),
    "model": lambda **how: smw.sobol_indices(stops, LAW, 300, **how),
    "log_likelihood": lambda **how: smw.posterior(stops, LAW, 600, **how),
    "log_likelihood or prior": lambda **how: smw.posterior(
        lambda x: x[:, 0], stops, 600, reference=LAW, **how
    ),
    "constraint": lambda **how: smw.weighted_rejection(np.zeros((2, 9)), stops, **how),
    "language or constraint": lambda **how: smw.constrained_sequences(COIN, stops, 8, 4, **how),
    "run": lambda **how: smw.calibrate(stops, 0.0, 10, **how),
    "functions: 'a'": lambda **how: smw.posterior(
        lambda x: -(x**2).sum(1), LAW, 600, functions={"a": stops}, **how
    ),
    "law": lambda **how: smw.adaptive_importance_sampling(abs, Stopping(), 300, **how),
    "step_size": lambda **how: smw.sliced_gradient_flow(CLOUD, CLOUD, 2, step_size=stops, **how),
}


@pytest.mark.parametrize("executor", [None, "threads:1"])
@pytest.mark.parametrize("named", EXITS)
def test_what_ends_the_program_is_told_by_the_argument(named, executor):
    with pytest.raises(ModelError, match=rf"^{named}: called sys.exit\(3\); expected it to return"):
        EXITS[named](executor=executor)


class TwoArguments(Exception):
    """Pickled without complaint, but can't be loaded."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def test_an_exception_that_cannot_be_sent_is_told_in_words():
    def function(i):
        raise TwoArguments("this", "that")

    with (
        pytest.raises(RuntimeError, match="TwoArguments: this and that") as caught,
        open_run(function, executor="processes:1") as run,
    ):
        run.map("a", numbered(2))
    assert "in stage 'a', batch 1" in caught.value.__notes__

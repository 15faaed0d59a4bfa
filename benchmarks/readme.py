"""The picture and the printed example of the README: python benchmarks/readme.py."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import smcweights as smw
from smcweights import plots

ROOT = Path(__file__).parents[1]


def example() -> str:
    """What the README's first example prints."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    return printed.getvalue()


def picture(path: Path) -> None:
    """Intervals of the flood study, and what a call is worth."""
    problem = smw.problems.flood()
    estimate = smw.adaptive_importance_sampling(
        problem.integrand, problem.law, 20_000, names=problem.names, seed=1
    )
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", dpi=110)
    plots.estimate(estimate, truth=problem.expectations, ax=axes[0])
    plots.gains(estimate, ax=axes[1])
    axes[1].set_yticks([])
    axes[1].set_xlabel("variance of plain Monte Carlo over that here")
    figure.savefig(path)


if __name__ == "__main__":
    picture(ROOT / "benchmarks" / "results" / "flood.png")
    print(example())

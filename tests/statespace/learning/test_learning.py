"""The room of learners costs nothing until it is used."""

import subprocess
import sys


def test_the_module_imports_neither_jax_nor_numba():
    code = (
        "import sys, smcweights; smcweights.score; smcweights.maximum_likelihood; "
        "print({'jax', 'numba', 'arviz', 'xarray', 'scipy.special'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"

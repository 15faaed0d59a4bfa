import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest
import xarray

from smcweights import _compat


def test_versions_are_those_of_the_distributions_and_fit_json():
    found = _compat.versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("smcweights", "numpy", "scipy", "numba", "jax", "arviz"):
        assert found[name] == importlib.metadata.version(name)
    assert json.loads(json.dumps(dict(found))) == found


def test_a_missing_distribution_is_said_to_be_missing():
    assert _compat._version("no-such-distribution-anywhere") == "not installed"


def test_asking_for_versions_imports_none_of_them():
    code = (
        "import sys; from smcweights import _compat; _compat.versions();"
        "print({'numba', 'jax', 'arviz', 'xarray', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_arviz_is_imported_in_silence():
    code = (
        "import warnings; warnings.simplefilter('error', FutureWarning)\n"
        "from smcweights import _compat; print(_compat.arviz().__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == importlib.metadata.version("arviz")


def test_inference_data_is_what_the_installed_arviz_works_with():
    rng = np.random.default_rng(0)
    draws = xarray.Dataset({"a": (("chain", "draw"), rng.standard_normal((4, 100)) + 5)})
    own = xarray.Dataset({"x": ("row", [1, 2, 3])})
    made = _compat.inference_data({"posterior": draws, "own": own})
    if importlib.metadata.version("arviz").startswith("0."):
        assert isinstance(made, _compat.arviz().InferenceData)
        assert set(made.groups()) == {"posterior", "own"}
    else:
        assert isinstance(made, xarray.DataTree)
        assert set(made.children) == {"posterior", "own"}
    np.testing.assert_array_equal(made["own"]["x"], [1, 2, 3])
    # the mean of 400 standard normal draws is within 0.3 of 5 but once in 10^8
    assert float(_compat.arviz().summary(made)["mean"].iloc[0]) == pytest.approx(5, abs=0.3)


def test_enable_x64_holds_inside_only():
    import jax.numpy as jnp

    before = jnp.ones(1).dtype
    with _compat.enable_x64():
        assert jnp.ones(1).dtype == "float64"
    assert jnp.ones(1).dtype == before

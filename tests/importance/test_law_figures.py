"""Figures of the law of an output draw its distribution function and its band."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made import whole_law
from scipy.special import ndtr

import smcweights as smw
from smcweights import plots


@pytest.fixture(scope="module")
def found():
    return whole_law()


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_probability_paper_shows_the_curve_within_its_band(found):
    ax = found.plot(output="b")
    (line,), (band,) = ax.lines, ax.collections
    t, z = line.get_xdata(), line.get_ydata()
    assert np.allclose(ndtr(z), found.cdf(t[:50], "b").value.tolist() + ndtr(z[50:]).tolist())
    assert ax.get_xlabel() == "b" and "0.5" in [x.get_text() for x in ax.get_yticklabels()]
    box = band.get_datalim(ax.transData)
    assert box.y0 <= z.min() and box.y1 >= z.max()


@pytest.mark.parametrize("upper", [True, False])
def test_a_tail_is_drawn_on_a_log_scale(found, upper):
    ax = plots.tail(found, upper=upper)
    (line,) = ax.lines
    t, p = line.get_xdata(), line.get_ydata()
    assert ax.get_yscale() == "log" and (p < 0.5).all() and (np.diff(p) <= 0).all() == upper
    exact = found.exceedance(t[:20]) if upper else found.cdf(t[:20])
    assert np.allclose(p[:20], exact.value)


def test_what_is_no_law_is_refused(found):
    with pytest.raises(TypeError, match="found: got Estimate; expected an OutputLaw"):
        plots.law(smw.Estimate(1.0, 1.0))
    with pytest.raises(ValueError, match="output: got 2; expected one of"):
        plots.law(found, output=2)

"""All figures stand under one name, which the package hands out on first use."""

import subprocess
import sys

from smcweights import plots


def test_every_figure_of_every_room_is_there_and_the_page_names_it():
    from smcweights.importance import figures as of_importance
    from smcweights.rejection import figures as of_rejection
    from smcweights.statespace import figures as of_statespace
    from smcweights.transport import figures as of_transport

    for room in (of_importance, of_rejection, of_statespace, of_transport):
        assert set(room.__all__) <= set(plots.__all__)
    missing = [name for name in plots.__all__ if f"`{name}`" not in plots.__doc__]
    assert not missing
    assert all(callable(getattr(plots, name)) for name in plots.__all__)


def test_the_package_hands_out_its_modules_and_none_loads_matplotlib():
    """In a new process: ``smw.plots`` without an import of it."""
    code = (
        "import sys, smcweights as smw; smw.plots.estimate; smw.report.write; "
        "assert 'matplotlib' not in sys.modules; assert 'plots' in dir(smw)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

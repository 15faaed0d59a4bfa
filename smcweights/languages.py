"""Languages: laws of the next item given a prefix; see `smcweights.rejection.languages`."""

from .rejection.languages import *  # noqa: F403
from .rejection.languages import __all__, __doc__  # noqa: F401

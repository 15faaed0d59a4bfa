"""Constraints on sequences; see `smcweights.rejection.constraints`."""

from .rejection.constraints import *  # noqa: F403
from .rejection.constraints import __all__, __doc__  # noqa: F401

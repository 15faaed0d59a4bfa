"""A study file and its model, for the tests of studies and of the command line."""

MODEL = """
import numpy as np

import units

def displacement(x):
    return units.SCALE * x[:, 0] / x[:, 1] ** 2

def one(x):
    return x[0] / x[1] ** 2

def broken(x):
    raise RuntimeError("the mesh has a hole")

def undefined(x):
    return np.where(x[:, 0] > 4.2, np.nan, 1.0)

def never(x):
    return x[:, 0] > 400
"""

STUDY = """
[model]
function = "beam.py:displacement"

[law.load]
distribution = "norm"
loc = 4.0
scale = 0.5

[law.width]
distribution = "lognorm"
s = 0.1
lower = 0.5

[copula]
correlation = [[1.0, 0.3], [0.3, 1.0]]

[study]
budget = 2000
seed = 5
names = ["mean displacement"]
"""


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path

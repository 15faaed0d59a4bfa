"""Sliced Wasserstein distances between clouds of points, their gradients and flows.

sliced.py            the distance of two clouds
several.py           all pairs of several clouds, and a fixed reference
population.py        the distance of the laws of two samples, with the error of the points
two_samples.py       a permutation test, of columns too
max_sliced.py        the direction along which two clouds differ most
gradient.py          closed-form gradients
flow.py              flows along them
sphere.py            means over the sphere in closed form, and the distance of Gaussian laws
clouds.py            points with weights, checked and moved to where no digits are lost
units.py             columns of mixed units on one scale
groups.py            rows that belong together, and blocks of rows that depend on their neighbours
directions.py        independent blocks of directions, each a rule on the sphere turned at random
costs.py             transport on the line, and around the whole plane
control_variates.py  functions of the direction with known means, and coefficients without bias
kernels.py           merges of sorted projections, and the sweep in the plane
"""

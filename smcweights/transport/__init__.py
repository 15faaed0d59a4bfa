"""Sliced Wasserstein distances between clouds of points, their gradients and flows.

directions.py   independent blocks of directions, each a rule on the sphere turned at random
controls.py     functions of the direction with known means, and coefficients without bias
sliced.py       the distance, all pairs of several clouds, a fixed reference, a two-sample test
flow.py         closed-form gradients and gradient flows
kernels.py      merges of sorted projections, and the exact sweep in the plane
"""

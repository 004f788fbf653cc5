"""ltlib: long-tailed and robust image recognition, written to be read.

The floors of the house, from the ground up; a room imports only from floors below it:

1. :mod:`ltlib.data`, :mod:`ltlib.models`: images, long-tailed splits, samplers, augmentation; networks.
2. :mod:`ltlib.methods`, :mod:`ltlib.evaluation`: one room a paper; accuracy and calibration.
3. :mod:`ltlib.training`: the engine that trains any method, saves, and resumes bit for bit.
4. :mod:`ltlib.experiments`: the vocabulary of an experiment, its sizes, and the run store.
5. :mod:`ltlib.lesson`, ``python -m ltlib``: figures and notebook helpers; the command line.

Nothing is imported here, so that ``import ltlib`` stays instant.
"""

__version__ = "0.1.0"

"""The first half hour on a real GPU: what to measure, in order of information. See ``__main__.py``."""

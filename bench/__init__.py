"""Measurements on loopback: each is run as `python -m bench.NAME`, prints its figures, asserts nothing."""

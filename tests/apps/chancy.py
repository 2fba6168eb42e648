"""Draws a number at import."""

import random

from plain import app as app

print("drawn", random.random(), flush=True)

"""Draws a number at import."""

import random
import sys

from plain import app as app  # type: ignore[import-not-found]

sys.stdout.write(f"drawn {random.random()}\n")
sys.stdout.flush()

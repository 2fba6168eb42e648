"""The measurements of `python -m bench`, each of one contestant in one round.

They return figures under the names of the row's metrics, in seconds, requests and their ratios.
"""

"""Other ways to spread connections over uvicorn workers, as small programs to compare the steering with.

One listener shared by all workers is `uvicorn --workers N` itself, so it has no program here.
"""

"""Other ways to spread connections over uvicorn workers, as small programs with one and the same worker.

So what differs between them is the distribution. One process without a cluster is `plain` with one worker.
"""

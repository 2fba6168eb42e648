"""What runs in a worker: one uvicorn server on listeners of its own, steered by the launcher.

`__main__` is the life of the process; `server` is uvicorn's server with our listeners; `meter` writes the
worker's desk of the scoreboard; `control` obeys the launcher; `application` imports and judges APP.
"""

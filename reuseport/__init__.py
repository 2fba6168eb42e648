"""reuseport: N independent uvicorn workers on one port, balanced by the kernel, supervised."""

__version__ = "0.1.0.dev0"

"""reuseport: N independent uvicorn workers on one port, balanced by the kernel, supervised.

For applications: `reuseport.draining` tells that this worker drains; see `notice`.
"""

from reuseport.notice import Draining

__all__ = ["Draining", "__version__", "draining"]

__version__ = "0.1.0.dev0"

draining = Draining()
"""Set when this worker begins to drain: `draining.is_set()`, `await draining.wait()`. Requests find it in
`scope["extensions"]["reuseport.draining"]`.
"""

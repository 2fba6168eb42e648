"""What shows and steers a running server: control socket, API, page, probes, Prometheus.

`doors` opens the sockets before anything is started; `front` waits there and loads the rest when all workers
are ready (`apology`: if it cannot); `service` is a small Starlette application served by uvicorn in the
launcher's own event loop. `agent` answers HAProxy with one line.
"""

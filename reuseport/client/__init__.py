"""The commands that see and steer a running launcher: they find its control socket and talk HTTP through it.

`finding` says which launcher is meant, `control` speaks with it, `waiting` follows what was asked for to its
end, `commands` is what can be typed. Nothing here imports launcher, worker or admin: what a command knows of
them is what the API says.
"""

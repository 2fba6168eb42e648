"""The supervising process: it spawns, watches and replaces workers, and never accepts a connection.

`supervisor` decides (pure: events in, actions out); `launcher` turns signals, exits, channel messages
and ticks into events and carries the actions out; `process` is one spawned worker and its descriptors.
"""

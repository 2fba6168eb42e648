"""The supervising process: it spawns, watches and replaces workers, and never accepts a connection.

serve       gets hold of everything, or refuses before anything has started
ahead       the first mold, executed before the launcher has imported itself
headstart   … and that before anything else
apart       the application in a process that is thrown away, for check and doctor
launcher    the loop: signals, the timer, what the supervisor is fed
workforce   facts in: what workers say, and when they are gone
orders      actions out: spawn, tell, steer, end
guarded     the loop as our own callbacks use it: what becomes of one that fails
siginfo     signals from a descriptor, with who sent them
process     one worker as the launcher holds it: pidfd, channel, exit status
molds       the molds' other end: has workers forked, or does without
mold        one of them, from its execution until it is reaped
execution   executing a module of ours in a fresh interpreter
becoming    what a copy of the launcher does before it is somebody else
exclusion   the file on which workers lock what only one may have
affinity    what --sticky takes: the table of keys, session inboxes
tickets     the key of TLS session tickets
ports       what keeps the addresses: reservations, the escrow, inboxes
activation  which of the service manager's listeners is whose
balance     how connections find a worker: the rung of the ladder
beforehand  --before-reload: a command that comes before a reload; `command` executes it
operator    what whoever steers a running launcher may see and ask
autoreload  --reload: the launcher's end of the file watcher
check       `reuseport check`: does the application import?

Rooms: `deciding` (pure), `watching` (what it looks at), `telling` (what it says), `host` (what is granted).
"""

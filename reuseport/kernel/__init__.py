"""What talks to the kernel: sockets, who else is on a port, steering. No HTTP, no asyncio, no processes.

addresses     what --bind says, and what the kernel is asked to bind
listener      sockets that each worker has for itself: reservation and listeners
mending       what any holder of a listener can do to it, and how that is undone
accepting     what an event loop is told when no descriptor is free
queue         who waits in a listener's accept queue
shared        sockets that all workers share
inherited     sockets that the service manager has opened for us
strangers     who else has our port or path; `owners` says it in words
silent        sockets that are bound and do not listen
named         Unix sockets that have a path; `diagnosis` asks the kernel for both
capabilities  which of root's powers there are, and how they are laid down
probe         what this kernel does for us, found out by trying
plan          what a steering program is made for
decision      what it decides; `assembler` writes it, `bpf` loads it
steering      the program at work: slot map and attachment
locks         names that one open file description holds, and the kernel releases
subreaper     whose children orphans become
unyielding    calls that keep the interpreter lock, and an alarm that wakes a thread only when it is late
waking        waiting for a listener so that a connection wakes one of many
netstat       counters of the whole host
"""

"""How to measure: servers under test, clients that account for each connection, rounds, and what figures say.

measure      a server process, its CPU time, a load from wrk, rounds and medians
contest      one contestant running under test, unprivileged, with the ledger of what its workers execute
clients      clients whose every connection is accounted for; `asking`: many of them, cheap
tools        wrk, ab, h2load and curl as background load
row          what a row of a table is made of; `comparison`: all contestants once a round, in turns
arithmetic   medians with their range, ratios within a round, and when there is no difference
results      what a comparison yields, as plain data; `changes`: against an older one
machine      what it was measured on; `versions`, `quiet`, `calibration`
"""

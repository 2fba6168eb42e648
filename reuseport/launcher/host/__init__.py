"""What the host grants: to the launcher, and through it to its workers.

identity  whom workers run as, and what is left of the launcher's own powers
acting    doing to files only what the workers' user could
limits    how many workers there is room for
cgroup    where this process stands in the hierarchies
pidfile   the file that names the launcher
"""

"""What the launcher says of itself and its workers.

totals        what is counted: the launcher's own integers, which no worker can reach
chronicle     what has happened: one line of the log, one record of the history
overview      everything at one moment, as the API tells it
announcing    what the service manager is to be told
notify        how it is told: sd_notify(3)
usage         memory and descriptors, read when somebody looks
stacks        where every thread of a worker stands
expiry        until when certificates last
exits         how a worker ended, in an operator's words
multiprocess  PROMETHEUS_MULTIPROC_DIR: figures of workers that are gone
"""

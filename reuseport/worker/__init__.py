"""What runs in a worker: one uvicorn server on listeners of its own, steered by the launcher.

__main__     the life of the process
afresh       the first lines of one that was executed: where it imports from
begin        its first steps: arguments, signals, the Start message
bond         it does not outlive its launcher
stage        what the application finds: sys.path, sys.argv, multiprocessing
application  imports and judges APP
server       uvicorn's server, with our listeners
admission    who comes in one by one, where connections are limited or announced
gate         accepts them
introducing  reads what proxies announce of them
certificates one for each name, and when the first of them ends
tickets      TLS sessions that any worker resumes
control      obeys the launcher, and tells it what it must know
meter        writes the desk of the scoreboard; its beat proves that the loop turns
footprint    its proportional set size, while somebody wants to know
hooks        functions of the operator's: --on-ready, --on-exit
inbox        connections that others pass to this slot
passing      one idle connection goes to another slot
departure    a worker leaves: nobody is cut off; `unanswered`: nor does it wait for who has nothing to say
fostering    accepting for a slot whose worker is gone
stealing     accepting for a sibling while its event loop is blocked
polling      how the event loop waits, and that it is not woken for what another takes
rescue       while the event loop is blocked, a thread hands on whose connections wait
standing     whether the loop's thread is in a task's step, so that another may act for it
rebalancing  passing on what makes it busier than others
autoreload   --reload: the helper that watches files
check        `reuseport check`: the throw-away process; `pools`: that of `reuseport doctor`

Rooms: `protocol` is what runs with every request, `sticky` has requests find the worker that knows their
session.
"""

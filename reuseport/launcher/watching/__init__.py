"""What the launcher looks at by itself: nobody tells it of these.

queues      who waits in the accept queue of a worker whose loop does not turn
relief      looks at queues while anybody waits, and has stuck slots fostered
readings    what workers write on the scoreboard, as far as it can be true
unevenness  who is busier than others, looked at unless all rest
tampering   what a worker may have done to its listeners, undone
memory      who has grown past --worker-max-rss
neighbours  listeners on our port that are not ours
strays      zombies of somebody else's, which PID 1 inherits
"""

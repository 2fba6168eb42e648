"""What workers are forked from: a process that has imported what they share, and serves nobody.

__main__    the life of a mold: import, say so, fork one worker at each order
casting     one fork: the worker becomes the launcher's own child
preloading  the application, imported here (--preload)
obstacles   what of it cannot be shared
learning    what each worker would find out by itself
title       what ps(1) shows of a worker that was forked
"""

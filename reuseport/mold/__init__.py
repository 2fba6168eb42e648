"""What workers are forked from: a process that has imported what they share, and serves nobody.

__main__  the life of a mold: import, say so, fork one worker at each order
casting   one fork: the worker becomes the launcher's own child
"""

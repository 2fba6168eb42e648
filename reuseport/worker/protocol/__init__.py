"""What runs with every connection and every request: a line here is paid for by each of them.

connection    the protocols by uvicorn's names, each able to say whether its connection can go elsewhere
by_httptools  the one behind httptools, and its
cycle         requests: what the application is called with, and what becomes of its messages
head          the head of a response, checked and encoded
ready         what `send` returns when there is nothing to wait for
forwarded     what a trusted proxy says of its client
by_h11        the one behind h11, through uvicorn's request cycles
kept          what both do between two requests
keeping       how long that lasts
state         what all connections share
count         responses by status and duration
load          what the worker has to do right now
activity      how many connections have had an answer lately
accesslog     the access log: lines of one turn are written together
accessline    one line of it
output        whole lines, many at a time, to where others write, too
"""

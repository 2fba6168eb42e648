"""Who is compared, and the applications that they serve.

field        everybody who competes in `python -m bench`, by groups
peers        other servers: how each is started, and what it can do
lineup       who is compared in the rows about balance
modes        other ways to distribute connections, with our workers; `node`: Node.js and its cluster
application  says who answers, and keeps count; `labour` has work to do, `framework` is Starlette, `small`
alternating  a worker that serves in several ways in turn
"""

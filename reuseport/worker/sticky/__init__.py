"""Sessions find their worker (--sticky): what one worker remembers, the next one need not know.

sessions   what the protocols ask: does this request belong elsewhere, and take it there
keys       what a request, or an answer to one, says of its session
homes      the slot that a session belongs to
moving     a request goes to another slot, with its connection and all that was read of it
incoming   it comes out of that slot's session inbox
answers    around the application: what it answers with is remembered, and our own cookie is set
movable    the protocols whose requests can be moved

When it is decided: at the end of a request's head, before the application sees anything of it. Only a
request that began while nothing else was under way on its connection can go, for then all that was read since
is its own, or comes after it. A pipelined one is served where it is. All the bytes go along, parsed anew
there: so a body under way, chunks, `Expect: 100-continue`, an upgrade, or what is pipelined behind it are
nothing special. What has been moved is never moved again.

Whose the descriptor is: the mover's until the packet is sent, then the inbox's, which the launcher holds; the
mover lets go of its own without shutdown(2), as in any handoff. What cannot be sent is parsed anew here, and
served: nobody is ever refused because of this.
"""

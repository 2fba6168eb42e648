"""What `python -m bench.soak` is made of: a server under all kinds of load while everything happens to it.

application  what is served · load  who asks for it · disturbances  what happens to the server meanwhile
watch        what is looked at every second, and at rest · verdict  flat and zero, or not · story  one run
"""

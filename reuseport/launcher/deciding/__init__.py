"""What is decided, and nothing else: events in, actions out, the clock passed in. No I/O in this room.

events       what comes in and what goes out, as plain frozen data
supervisor   every decision about workers, and all state that it depends on
phases       the life of a worker, as a table
conversation what a worker may say when, as a table
slots        the supervisor's data, and the questions that it asks of it
starting     who is started, and what follows if the first start fails
roster       who is there, and what is done to one worker
looking      whom to ask what they execute, because they take long
silence      whose event loop turns, and whose does not
rollout      replacements that are planned: start before stop, few at a time
ending       the end of the server, once it is decided
fostering    who accepts for whom
siblings     whose listeners a worker knows, to accept from while their workers are blocked
rebalancing  who hands connections to whom
burden       how much work waits in a worker
requests     what an operator may ask, when it is refused, and what follows
reports      every sentence the supervisor says
"""

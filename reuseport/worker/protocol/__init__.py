"""What runs with every connection and every request: a line here is paid for by each of them.

connection  uvicorn's HTTP protocols, each able to say whether its connection can go elsewhere
keeping     connections between two requests
count       responses by status and duration
load        what the worker has to do right now
activity    how many connections have had an answer lately
accesslog   the access log: lines of one turn are written together
accessline  one line of it
output      whole lines, many at a time, to where others write, too
"""

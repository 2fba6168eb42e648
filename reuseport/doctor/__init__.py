"""`reuseport doctor`: would it start here, how well would it do, and what is to be typed?

facts      what is known of host, settings and application; or why it could not be told
gathering  asks for them, and starts nothing
service    what systemd knows of us
judging    one small judge a line, from facts alone; `kernel`, `room`, `program` are the judges
telling    the lines for people and for programs, and the exit status
"""

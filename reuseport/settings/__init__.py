"""Every setting, once.

table       name, default, flags, kind, topic and help of each: all else derives from it
flags       what a field of the table says about itself
handed      what of it a worker hands to uvicorn
kinds       the kinds of value: how each is read from text and from a file
values      the same kinds as click takes them
units       durations and sizes as operators write them
precedence  flags, then the environment, then the file, then defaults
foreign     flags of other servers, and what to write here
validation  what is wrong with the settings as a whole
"""

"""One file a comparison: what is asked, how it is measured, and what was expected.

table       the rows of `python -m bench`, measured by `throughput`, `openloop`, `article`, `losses`, `start`
spread      where connections land · `mixed` · `blocked` · `pooled`: connections that stay
reloads     planned changes · `kills`: workers that die · `idle`: sheer numbers
"""

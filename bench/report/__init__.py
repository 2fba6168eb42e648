"""The results for readers: on a terminal, in Markdown, as plots, and all of it on one page of HTML."""

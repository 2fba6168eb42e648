"""Text that others wrote, such as the name of their process, made fit to be shown: one line, nothing obeyed.

A terminal obeys what it is sent, and a line break in a log is a line that nobody wrote.
"""


def printable(text: str) -> str:
    """What is not printable, of any script, is spelled out: a line break becomes a backslash and an n."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )

"""Text that others wrote, such as the name of their process, made fit to be shown: nothing of it is obeyed.

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


def paragraph(text: str, indent: str = "    ") -> str:
    """The same for text of several lines, such as a traceback: each after the first is indented."""
    if text.isprintable():
        return text
    return f"\n{indent}".join(map(printable, text.expandtabs().split("\n")))

"""What every error of the pack must look like to the person who meets it."""

from __future__ import annotations


def one_sentence(error: object, letters: bool = False) -> str:
    """The error's text, after checking that it is one clear line of ASCII that ends like a sentence; a terminal shows
    other `letters`, too."""
    text = str(error)
    assert text == text.strip() and (letters or text.isascii()) and text.isprintable(), ascii(text)
    assert len(text) <= 400, text
    assert text.endswith("."), text
    assert "Traceback" not in text and "Error:" not in text, text
    return text

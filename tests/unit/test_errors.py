"""Every sentence of the pack: one line of ASCII, whatever stands in a file or in an input."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from sentences import one_sentence

from systems.common.errors import CheckpointError, InputError, plain, quoted

PACK = ("nodes", "systems", "client", "training")
LOGS = ("checkpoints", "models", "nodes", "patches", "training")
# The texts that a person reads in the browser, where every letter is at home.
SHOWN = {"tooltip", "description", "placeholder", "display_name", "label_on", "label_off"}
REMEDY = "; download it again."


@pytest.mark.parametrize("kind", [InputError, CheckpointError])
@pytest.mark.parametrize(
    "met, shows",
    [
        ("雪", r"\u96ea"),
        ("×…–“", r"\xd7\u2026\u2013\u201c"),
        ("\ud800", r"\ud800"),
        ("two\nlines", r"two\nlines"),
        ("\r\v\f\x1c\x85\u2028", r"\r\x0b\x0c\x1c\x85\u2028"),
        ("\0\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
        ("😀", r"\U0001f600"),
    ],
)
def test_what_is_met_is_escaped(kind, met, shows):
    assert one_sentence(kind(f"a{met}b is broken{REMEDY}")) == f"a{shows}b is broken{REMEDY}"


@pytest.mark.parametrize("kind", [InputError, CheckpointError])
@pytest.mark.parametrize("letter", ["x", "雪", "\n", "😀"])
@pytest.mark.parametrize("place", ["{met} is broken", "file is {met}, not a number", "{met} is {met}"])
@pytest.mark.parametrize("length", [200, 500, 10**6])
def test_beginning_and_remedy_stay(kind, letter, place, length):
    met = f"begin{letter * length}"
    sentence = one_sentence(kind(place.format(met=met) + REMEDY))
    assert sentence.startswith(place.format(met=met)[:5]) and sentence.endswith(REMEDY)
    assert len(sentence) == 400 or length == 200


@pytest.mark.parametrize("length", [399, 400])
def test_what_fits_stays_whole(length):
    sentence = "a" * (length - 1) + "."
    assert one_sentence(InputError(sentence)) == sentence


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, "雪" * 10**6, ["a"] * 10**6, {str(n): n for n in range(10**5)}, 10**4000, "\ud800\n", None, 1.5,
     [[[[[[[[[[]]]]]]]]]], [["\u2028" * 99] * 99] * 99],
)  # fmt: skip
def test_quoted_values_are_short(value):
    shown = quoted(value)
    assert len(shown) <= 80 and shown.isascii() and shown.isprintable()


def test_what_is_short_is_quoted_as_python_writes_it():
    for value in ("'\\", [0.5, 1, None], {"a": [1, 2]}, -3, True):
        assert quoted(value) == repr(value)


@pytest.mark.parametrize("most", [20, 80, 100, 400])
def test_plain_keeps_both_ends(most):
    shown = plain("a" + "雪" * 1000 + "z", most)
    assert len(shown) == most and shown[0] == "a" and shown[-1] == "z" and " ... " in shown


def literals(tree: ast.Module) -> Iterator[ast.Constant]:
    """Texts of a module, but for docstrings and what is shown in the browser."""
    left_out = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            left_out |= {id(part) for word in call.keywords if word.arg in SHOWN for part in ast.walk(word.value)}
    for part in ast.walk(tree):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in left_out:
            yield part


def test_texts_in_the_code_are_ascii(root):
    """Sentences, log lines and what the command line prints, wherever they are put together."""
    files = [*root.glob("*.py"), *(path for folder in PACK for path in (root / folder).rglob("*.py"))]
    seen, wrong = 0, []
    for path in files:
        for part in literals(ast.parse(path.read_text(encoding="utf-8"))):
            seen += 1
            if not part.value.isascii():
                wrong.append(f"{path.relative_to(root)}:{part.lineno} {ascii(part.value)}")
    assert seen > 1000 and not wrong, wrong


def test_logged_names_are_escaped(root):
    """What a log line shows of a file or a folder goes through `plain`."""
    wrong = []
    for path in (each for folder in LOGS for each in (root / folder).glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if is_logging(call):
                wrong += [f"{path.relative_to(root)}:{call.lineno}" for given in call.args[1:] if names_a_file(given)]
    assert not wrong


def is_logging(call: ast.AST) -> bool:
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in ("logging", "logger", "log")
        and call.func.attr in ("debug", "info", "warning", "error", "exception")
    )


def names_a_file(given: ast.expr) -> bool:
    """`path`, `path.name`, `error` and their like, unless inside plain(...)."""
    if isinstance(given, ast.Call) and isinstance(given.func, ast.Name) and given.func.id == "plain":
        return False
    words = {part.id for part in ast.walk(given) if isinstance(part, ast.Name)}
    return bool(words & {"path", "file", "folder", "error", "named", "name", "output", "checkpoints"})


def test_the_check_of_log_lines_sees_a_name():
    calls = ast.parse('logging.info("%s: %s", 1, path.name); logging.info("%s", plain(path.name))').body
    assert [any(map(names_a_file, each.value.args[1:])) for each in calls] == [True, False]
    assert all(is_logging(each.value) for each in calls)


def test_every_sentence_is_made_by_the_two_classes():
    """Whatever they become in between."""
    for kind in (InputError, CheckpointError):
        error = kind("a\n雪.")
        assert error.args == (r"a\n\u96ea.",) and repr(error).isascii() and isinstance(error, ValueError)
        assert f"{kind.__module__}.{kind.__qualname__}" == f"Qwen2VL-Flux.{kind.__name__}"

"""No text of a tenant moves the cursor, changes colours, or hides what stands around it."""

import pytest

from kubetune_cli.text import age, log_line, paragraphs, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a [bold]plain[/] text", "a [bold]plain[/] text", id="markup is no sequence"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colours"),
        pytest.param("a\x1b[2J\x1b[Hb", "ab", id="a cleared screen"),
        pytest.param("\x1b]0;title\x07a", "a", id="a window's title"),
        pytest.param("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click", id="a link"),
        pytest.param("\x1b]52;c;ZXZpbA==\x07a", "a", id="the clipboard"),
        pytest.param("\x9b31mred", "red", id="a sequence of one byte"),
        pytest.param("\x1bcreset", "reset", id="a reset"),
        pytest.param("\x1b]0;never ends", "0;never ends", id="a sequence without an end hides nothing"),
        pytest.param("a\x08\x08b\x00\x7f", "ab", id="backspaces and other controls"),
        pytest.param("ab\u202edc", "abdc", id="an override of the direction"),
        pytest.param("one\ntwo\tthree", "one two three", id="whitespace is one line"),
        pytest.param("größer 文字 👩‍🔬", "größer 文字 👩‍🔬", id="every script and joined signs"),
    ],
)
def test_a_text_is_shown_without_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_keeps_its_lines() -> None:
    assert paragraphs("job.yaml:3: \x1b[1mone\njob.yaml:4: two") == ["job.yaml:3: one", "job.yaml:4: two"]
    assert paragraphs("") == [""]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("a\tb", "a\tb", id="tabs stay"),
        pytest.param("  1%|  \r 50%|# \r100%|##", "100%|##", id="a progress bar's last state"),
        pytest.param("a line of Windows\r", "a line of Windows", id="the end of a line of Windows"),
        pytest.param("\x1b[36m(worker pid=7)\x1b[0m loss 0.5", "(worker pid=7) loss 0.5", id="Ray's colours"),
    ],
)
def test_a_line_of_a_log_is_shown_as_text(line: str, shown: str) -> None:
    assert log_line(line) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7260, "2h01m"), (172800, "2d00h"), (-5, "0s")],
)
def test_an_age_reads_as_that_of_kubectl(seconds: float, shown: str) -> None:
    assert age(seconds) == shown

"""What a person typed, as statements."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.model import MeshdiagError
from meshdiag.shell.commands import named
from meshdiag.shell.parse import Statement, parse, words_of


def parsed(text: str, script: bool = False) -> list[Statement]:
    """With the commands that there are."""
    return parse(text, lambda w: named(w) is not None, lambda w: bool((c := named(w)) and c.raw), script=script)


def words(text: str) -> tuple[str, ...]:
    """The words of the only statement, its name among them."""
    (one,) = parsed(text)
    return (one.name, *one.words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("open a b", ("open", "a", "b")),
        ("  open\ta   b  ", ("open", "a", "b")),
        ("open 'a b' \"c d\"", ("open", "a b", "c d")),
        ("open a' 'b", ("open", "a b")),
        ("open a\\ b", ("open", "a b")),
        ('open "a\\"b\\\\c"', ("open", 'a"b\\c')),
        ("open 'a\\b'", ("open", "a\\b")),
        ("search \\d+\\.\\w", ("search", "\\d+\\.\\w")),
        ("search 'a|b;c>d#e'", ("search", "a|b;c>d#e")),
        ("search a\\|b\\;c\\>d", ("search", "a|b;c>d")),
        ("open '' a", ("open", "", "a")),
        ("open a#b", ("open", "a#b")),
        ("show #2", ("show", "#2")),
        ("show 2 # the second", ("show", "2")),
        ("open données/日志.log", ("open", "données/日志.log")),
        ("'open' a", ("open", "a")),
        ("? fix", ("?", "fix")),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    """Blanks separate words, quotes and backslashes keep them together, # begins a comment unless a number follows."""
    assert words(text) == expected


def test_statements() -> None:
    """; and line ends of any kind separate statements; empty ones and comments are none."""
    assert [s.name for s in parsed("causes; ;show 1;;why 1 ;")] == ["causes", "show", "why"]
    assert [s.name for s in parsed("causes\r\nshow 1\rwhy 1\n\n")] == ["causes", "show", "why"]
    assert parsed("") == parsed(" \t\r\n;; ") == parsed("# nothing") == []


def test_output_elsewhere() -> None:
    """> and >> name a file, | a program with all that follows; blanks around them are of no account."""
    assert parsed("causes>a.txt") == [Statement("causes", (), "a.txt")]
    assert parsed("causes all >> 'my file'; mark") == [
        Statement("causes", ("all",), "my file", append=True),
        Statement("mark"),
    ]
    assert parsed("lines 1 | grep 'a;b' | sort > x; !ls") == [
        Statement("lines", ("1",), pipe="grep 'a;b' | sort > x; !ls")
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("causes |", "name a program"),
        ("causes >", "name a file"),
        ("causes >> ; mark", "name a file"),
        ("causes > ''", "name a file"),
        ("causes > a > b", "one place"),
        ("causes > a | less", "one place"),
        ("| less", "no command stands before |"),
        ("> causes", "no command stands before >"),
        ("mark; >> causes", "no command stands before >>"),
        ("search 'a b", "not closed: 'a b"),
        ('mark; open "a', "not closed"),
    ],
)
def test_mistakes_name_the_next_step(text: str, hint: str) -> None:
    """What cannot be meant is an error that says how to mend it."""
    with pytest.raises(MeshdiagError) as error:
        parsed(text)
    assert hint in str(error.value)


def test_raw_commands_take_the_rest() -> None:
    """A raw command takes the rest of the line as it stands: no quote, no ;, no | of it means anything; its name may be quoted."""
    rest = "it's | a > note; # with !everything 'in it"
    assert parsed(f"note {rest}") == [Statement("note", (rest,))]
    assert parsed(f"mark; explain   {rest}  ") == [Statement("mark"), Statement("explain", (rest,))]
    assert parsed("note") == [Statement("note")]
    assert parsed("'explain' UH") == [Statement("explain", ("UH",))]


def test_shell_commands() -> None:
    """! takes the rest of the line for the user's shell, also behind ;."""
    assert parsed("!ls -l | wc; causes > x") == [Statement("!", ("ls -l | wc; causes > x",))]
    assert parsed("mark; ! date ") == [Statement("mark"), Statement("!", ("date",))]
    assert parsed("!") == [Statement("!", ("",))]


def test_a_pasted_line_is_one_statement() -> None:
    """A line that begins with no command is taken as it stands, whatever it has."""
    line = '[2026-11-22T10:00:00Z] "GET /?a=1;b=2|c>d HTTP/1.1" 503 UH # "it\'s'
    assert parsed(line) == [Statement("", (line,))]
    assert parsed(f"mark; {line}") == [Statement("mark"), Statement("", (line,))]


HOSTILE = (
    "!touch owned",
    "causes; !touch owned",
    "causes;!touch owned",
    "causes | sh",
    "causes > owned",
    "causes >> owned",
    "note x\rcauses > owned",
    "mark;causes|sh",
)


@pytest.mark.parametrize("evil", HOSTILE)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["open the door", "2026-11-22T10:00:00Z info hello", "causes", "", "note x"])
def test_a_hostile_paste_runs_nothing(evil: str, end: str, first: str) -> None:
    """Of several lines none runs a program or writes a file, whichever comes first: they are one pasted text, or an error."""
    for text in (f"{first}{end}{evil}", f"{evil}{end}{first}{end}{evil}", f"{first}{end}{end}{evil}{end}"):
        if first or text.count(evil) > 1 or "\r" in evil:
            try:
                found = parsed(text)
            except MeshdiagError as e:
                assert "several lines" in str(e) or "one place" in str(e)
                continue
            assert not any(s.file or s.pipe or s.name == "!" for s in found)


def test_several_commands_may_be_pasted() -> None:
    """Lines that all begin with a command are commands, in order; one that does not makes all of them one text."""
    assert [s.name for s in parsed("open a\ncauses\nshow 1")] == ["open", "causes", "show"]
    text = "open a\nupstream connect error\ncauses"
    assert parsed(text) == [Statement("", (text,))]


def test_scripts_may_do_all() -> None:
    """A script was written by its owner: lines may use !, | and >, have comments, and one line that is no command stays one."""
    found = parsed("# a check\nopen a\n\n!date\ncauses > out\nlines 1 | wc\nUH\n", script=True)
    assert [(s.name, s.file, s.pipe) for s in found] == [
        ("open", "", ""), ("!", "", ""), ("causes", "out", ""), ("lines", "", "wc"), ("", "", "")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "causes;" * 75_000, ";" * 1_000_000, "open " + "a " * 500_000, "causes " + "#" * 1_000_000,
     "causes #x #y " * 80_000, "mark\n" * 100_000, "open '" + "\\'" * 500_000, "note " + "y" * 1_000_000, "open " + "\\ " * 500_000],
    ids=["word", "statements", "separators", "words", "comment", "comments", "lines", "quote", "raw", "escapes"],
)  # fmt: skip
def test_much_text_is_quick(text: str) -> None:
    """Half a megabyte and more takes time in proportion to its length, whatever it is made of."""
    begin = time.process_time()
    try:
        parsed(text)
    except MeshdiagError as e:
        assert "not closed" in str(e)
    assert time.process_time() - begin < 4


PIECES = st.sampled_from(
    [
        "open",
        "causes",
        "note",
        "explain",
        "!",
        "|",
        ">",
        ">>",
        ";",
        "#",
        "'",
        '"',
        "\\",
        " ",
        "\n",
        "\r",
        "\t",
        "a",
        "#2",
        "é",
        "\0",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join), st.lists(PIECES, max_size=12).map(" ".join))


@given(TEXTS, st.booleans())
def test_any_text_is_parsed_or_refused(text: str, script: bool) -> None:
    """Any text gives statements that are well formed, or a MeshdiagError that says why not."""
    try:
        found = parsed(text, script)
    except MeshdiagError as e:
        assert str(e)
        return
    for s in found:
        assert s.name in ("", "!") or named(s.name)
        assert not (s.file and s.pipe)
        assert s.file or not s.append
        assert s.name or s.words[0].strip()


@given(TEXTS)
def test_several_lines_never_run_a_program(text: str) -> None:
    """No text of several lines, however it is made, runs a program or writes a file."""
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    try:
        found = parsed(text)
    except MeshdiagError:
        return
    assert len(lines) < 2 or not any(s.file or s.pipe or s.name == "!" for s in found)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=4))
def test_quoted_words_come_back(some: list[str]) -> None:
    """Words in double quotes with \\ before quotes and backslashes come back as they were."""
    quoted = ['"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in some]
    assert parsed(" ".join(["open", *quoted])) == [Statement("open", tuple(some))]


@given(TEXTS)
def test_words_stand_where_they_say(text: str) -> None:
    """Words come in order, none overlaps another, and a separator is the text at its place."""
    end = 0
    for word, kind in words_of(text):
        assert end <= word.start < word.end <= len(text)
        assert kind == "w" or (text[word.start : word.end] == word.text and not word.open)
        end = word.end

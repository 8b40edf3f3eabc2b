"""What the tests of the pages read in a page, and what they take for its output."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import console

sys.path.pop(0)

PAGE = """
```python title="shop/service.py"
one = 1
```

```python
not_a_file = 1
```

```console
$ micro call GET /a \\
  --as ada
{"a":…}
$ NAME=ada
```
"""


def test_files_and_commands_come_in_the_order_of_the_page():
    assert console.parts(PAGE) == [
        console.File("shop/service.py", "one = 1\n"),
        console.Step("micro call GET /a \\\n  --as ada", ['{"a":…}']),
        console.Step("NAME=ada"),
    ]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a … z"], "a b c z\n"),
        (["a …"], "a  b\nc\n"),
        (["NAME  STATE"], "NAME         STATE\n"),
        (["…", "last"], "first\nsecond\nlast\n"),
        ([], "whatever\n"),
    ],
)
def test_dots_stand_for_anything_and_spaces_do_not_count(shown, printed):
    assert console.Step("echo", shown).matches(printed)


@pytest.mark.parametrize(("shown", "printed"), [(["a"], "a b\n"), (["a … z"], "a b\n"), (["(a|b)"], "a\n")])
def test_anything_else_is_not_what_the_page_shows(shown, printed):
    assert not console.Step("echo", shown).matches(printed)


@pytest.fixture
def shell(tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    shell = console.Shell(folder, {}, {"8000": "28000"})
    yield shell
    shell.close()


def test_variables_last_and_ports_are_those_of_the_run(shell):
    shell.check(console.Step("PORT=8000"))
    shell.check(console.Step("echo $PORT", ["8000"]))
    shell.write(console.File("a/b.toml", "port = 8000\n"))
    shell.check(console.Step("cat a/b.toml", ["port = 28000"]))


def test_a_command_that_shows_nothing_has_to_succeed(shell):
    with pytest.raises(AssertionError, match="ended with 1"):
        shell.check(console.Step("false"))


def test_another_output_than_the_page_shows_is_told(shell):
    with pytest.raises(AssertionError, match="the page shows:\ntwo"):
        shell.check(console.Step("echo one", ["two"]))

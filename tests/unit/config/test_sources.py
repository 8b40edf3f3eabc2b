"""Where a configuration is found and how its files are read."""

from __future__ import annotations

import os

import pytest

from micro.config.sources import built_in, find_source, read_dotenv, read_toml
from micro.errors import ConfigurationError


def message(call, *arguments):
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_nearest_file_upward_is_taken(tmp_path):
    (tmp_path / "micro.toml").write_text("[stack]\nname = 'outer'")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "micro.toml").write_text("[stack]\nname = 'inner'")
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    source = find_source(deep)
    assert source.file == tmp_path / "a" / "micro.toml"
    assert source.tables == {"stack": {"name": "inner"}}
    assert source.label == "micro.toml"


def test_without_a_file_nothing_is_found(tmp_path):
    assert find_source(tmp_path) is None


def test_a_table_in_pyproject_is_taken(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.micro.stack]\nname = 'project'")
    source = find_source(tmp_path)
    assert source.tables == {"stack": {"name": "project"}}
    assert source.label == "pyproject.toml [tool.micro]"


@pytest.mark.parametrize(
    "text", ["[project]\nname = 'x'", "[project]\nname = 'microscope'", "tool = 'micro'"]
)
def test_a_pyproject_without_our_table_is_passed_by(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert find_source(tmp_path) is None


def test_a_micro_toml_wins_over_the_pyproject_beside_it_and_says_so(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.micro]\n")
    (tmp_path / "micro.toml").write_text("")
    source = find_source(tmp_path)
    assert source.label == "micro.toml"
    assert source.warnings == ("pyproject.toml: [tool.micro] is ignored, because micro.toml is beside it",)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[stack]\nname 'x'", "line 2, column 6"),
        ("[stack]\nname = 'x", "line 2, column 10"),
        ("a = 1\na = 2", "line 2, column"),
        ("[stack", "line 1, column 7"),
    ],
)
def test_broken_toml_is_one_sentence_with_file_line_and_column(tmp_path, text, place):
    (tmp_path / "micro.toml").write_text(text)
    said = message(find_source, tmp_path)
    assert said.startswith("micro.toml: is not valid TOML: ")
    assert place in said
    assert "\n" not in said


def test_what_is_there_twice_is_named_as_it_is_written(tmp_path):
    (tmp_path / "micro.toml").write_text("[gateway.cors]\n[gateway.cors]\n")
    said = message(find_source, tmp_path)
    assert said.startswith("micro.toml: is not valid TOML: Cannot declare [gateway.cors] twice (at line 2")


def test_bytes_that_are_no_text_are_told_with_line_and_column(tmp_path):
    (tmp_path / "micro.toml").write_bytes(b"[stack]\nname = '\xff'")
    assert message(find_source, tmp_path) == "micro.toml: is not UTF-8 text (at line 2, column 9)"


def test_the_mark_that_some_editors_begin_a_file_with_is_no_mistake(tmp_path):
    (tmp_path / "micro.toml").write_bytes(b"\xef\xbb\xbf[stack]\nname = 'x'")
    assert find_source(tmp_path).tables == {"stack": {"name": "x"}}


def test_arrays_nested_without_end_are_refused(tmp_path):
    (tmp_path / "micro.toml").write_text("a = " + "[" * 20_000)
    assert message(find_source, tmp_path) == "micro.toml: is not valid TOML: it is nested too deeply"


def test_a_number_too_long_to_convert_is_refused(tmp_path):
    (tmp_path / "micro.toml").write_text("a = " + "9" * 10_000)
    assert message(find_source, tmp_path).startswith("micro.toml: is not valid TOML: Exceeds the limit")


def test_a_file_beyond_a_megabyte_is_refused(tmp_path):
    (tmp_path / "micro.toml").write_text("#" * (1 << 20) + "\n")
    assert message(find_source, tmp_path) == "micro.toml: is larger than a megabyte"


def test_a_file_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "micro.toml").mkdir()
    assert message(find_source, tmp_path) == "micro.toml: can't be read: Is a directory"


def test_a_link_that_leads_nowhere_is_refused_and_not_passed_by(tmp_path):
    (tmp_path / "micro.toml").symlink_to("gone.toml")
    assert message(find_source, tmp_path) == "micro.toml: can't be read: No such file or directory"
    (tmp_path / ".env").symlink_to("gone.env")
    assert message(read_dotenv, tmp_path, {}) == ".env: can't be read: No such file or directory"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "micro.toml")
    assert message(find_source, tmp_path) == "micro.toml: is a pipe, not a file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x\n', "the string is not closed (at line 1, column 10)"),
        ("a = 1\na = 2\n", "the key is there twice (at line 2, column 6)"),
    ],
)
def test_the_commonest_mistakes_are_said_in_words_of_what_is_wrong(tmp_path, text, said):
    (tmp_path / "micro.toml").write_text(text)
    assert message(find_source, tmp_path) == f"micro.toml: is not valid TOML: {said}"


def test_a_broken_pyproject_that_mentions_micro_is_told(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.micro")
    assert message(find_source, tmp_path).startswith("pyproject.toml: is not valid TOML")


def test_the_built_in_tables_are_read():
    assert set(built_in().tables) == {"stack", "services", "gateway", "profiles"}


def test_no_env_file_is_no_variables(tmp_path):
    assert read_dotenv(tmp_path, {}) == {}


def test_an_env_file_is_read_as_dotenv_does(tmp_path):
    (tmp_path / ".env").write_text(
        "# a comment\n\nexport A=1\nB='two words'\nC=\"line\\nbreak\"\nD=${A}-${HOME_TOWN}-${NONE:-else}\nEMPTY=\nBARE\n"
    )
    assert read_dotenv(tmp_path, {"HOME_TOWN": "Ulm"}) == {
        "A": "1",
        "B": "two words",
        "C": "line\nbreak",
        "D": "1-Ulm-else",
        "EMPTY": "",
    }


@pytest.mark.parametrize("line", ["'oops", "B=\0", "B\0=2"])
def test_a_line_that_is_no_assignment_is_refused_with_its_number(tmp_path, line):
    (tmp_path / ".env").write_text(f"A=1\n{line}\n")
    assert message(read_dotenv, tmp_path, {}) == ".env: line 2 is not NAME=value"


def test_a_folder_of_that_name_holds_no_variables(tmp_path):
    (tmp_path / ".env").mkdir()
    assert read_dotenv(tmp_path, {}) == {}


def test_reading_a_missing_file_is_a_configuration_error(tmp_path):
    assert message(read_toml, tmp_path / "x.toml") == "x.toml: can't be read: No such file or directory"

"""The command line as a whole: its verbs, its help, and how every ending becomes an exit code."""

from __future__ import annotations

import inspect
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from micro import cli
from micro.cli import VERBS, run
from micro.commands import verb
from micro.errors import ConfigurationError, MicroError, StackNotRunning

ROOT = Path(__file__).parents[2]
LATER = {"new", "init"}


COMMON = {"-C", "--profile", "--dev", "--prod", "--help"}
EVENTS = {"--topic", "--type", "--key", "--correlation", "--since", "--limit", "--json"}
LETTERS = {"--service", "--topic", "--type", "--exception", "--json"}
CHANGE = {*LETTERS, "--all", "--yes", "-y"}
FLAGS = {
    "up": {
        "--no-deps",
        "--detach",
        "-d",
        "--reload",
        "--no-reload",
        "--port",
        "--json",
        "--migrate",
        "--infra",
    },
    "down": {"--timeout"},
    "wait": {"--timeout", "--json"},
    "restart": {"--json"},
    "scale": {"--json"},
    "run": {"--json"},
    "ps": {"--json"},
    "health": {"--json"},
    "logs": {"--follow", "-f", "--since", "--level", "--json"},
    "routes": {"--host", "--header", "-H", "--json"},
    "call": {
        *("--service", "--data", "-d", "--header", "-H", "--include", "-i"),
        *("--field", "--token", "--as", "--role", "--timeout", "--json"),
    },
    "token": {"--role", "--scope", "--ttl", "--api-key"},
    "doctor": {"--json"},
    "version": {"--json"},
    "events tail": {*EVENTS, "--follow", "--no-follow"},
    "events list": EVENTS,
    "events publish": {"--key", "--data", "--json"},
    "events trace": {"--since", "--json"},
    "events replay": {
        "--service",
        "--topic",
        "--type",
        "--key",
        "--since",
        "--until",
        "--yes",
        "-y",
        "--json",
    },
    "events stats": {"--json"},
    "dlq list": {*LETTERS, "--limit"},
    "dlq inspect": {"--service", "--json"},
    "dlq replay": CHANGE,
    "dlq skip": CHANGE,
    "dlq purge": CHANGE,
    "db migrate": {"--service", "--json"},
    "db status": {"--service", "--json"},
    "db shell": {"--write", "--json"},
    "infra up": {"--use", "--json"},
    "infra down": set(),
    "infra status": {"--json"},
    "infra logs": set(),
    "profile list": {"--json"},
    "profile show": {"--json"},
}
"""Every verb with its own options: what people's scripts rely on, so a change here is a decision."""


def every_verb() -> dict[str, typer.main.TyperCommand]:
    """Every verb that does something, by what is typed: `events tail`, `ps`, …"""
    root = cli.command()
    found = {}
    for name in VERBS:
        command = root.find(name)
        below = getattr(command, "commands", None)
        found |= {f"{name} {each}": inner for each, inner in below.items()} if below else {name: command}
    return found


def stop():
    raise typer.Exit(7)


def in_process(*arguments: str, **options) -> subprocess.CompletedProcess:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environ", {})}
    command = [sys.executable, "-m", "micro", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environ, timeout=60, check=False, **options
    )


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """In a folder with no stack and no configuration."""
    monkeypatch.chdir(tmp_path)


class TestHelp:
    def test_the_verbs_of_this_version_are_there_and_no_others(self):
        assert every_verb().keys() == FLAGS.keys()
        assert not LATER & set(VERBS)

    @pytest.mark.parametrize("name", FLAGS)
    def test_a_verb_has_exactly_these_options(self, name):
        with every_verb()[name].make_context(name, [], resilient_parsing=True) as context:
            parameters = context.command.get_params(context)
        flags = {
            flag for each in parameters for flag in (*each.opts, *each.secondary_opts) if flag.startswith("-")
        }
        assert flags == FLAGS[name] | COMMON

    @pytest.mark.parametrize("name", VERBS)
    def test_the_table_says_what_the_verb_says_of_itself(self, name):
        command = cli.command().find(name)
        assert command.help.splitlines()[0] == VERBS[name].help

    @pytest.mark.parametrize("name", every_verb())
    def test_every_verb_s_first_line_fits_its_table(self, name):
        first = every_verb()[name].help.splitlines()[0]
        assert len(first) <= 65
        assert first.endswith(".")

    @pytest.mark.parametrize("name", every_verb())
    def test_every_verb_s_help_has_one_example_that_the_parser_takes(self, name, capsys, monkeypatch):
        (example,) = re.findall(r"Example: (micro .*)", every_verb()[name].help)
        assert example.startswith(f"micro {name}")
        parsed = []
        monkeypatch.setattr(verb.Verb, "session", lambda self, flags=None: parsed.append(self) or stop())
        assert run(shlex.split(example)[1:]) in {0, 7}
        assert parsed or name == "version"

    def test_help_lists_every_verb_plainly_by_section(self):
        result = in_process("--help")
        assert (result.returncode, result.stderr) == (0, "")
        for name, entry in VERBS.items():
            assert re.search(rf"^  {name} +{re.escape(entry.help)}$", result.stdout, re.MULTILINE)
        assert result.stdout.isascii(), "no boxes"

    @pytest.mark.parametrize("arguments", [(), ("-h",)])
    def test_asking_for_nothing_is_asking_for_help(self, arguments, capsys):
        assert run(arguments) == 0
        assert capsys.readouterr().out.startswith("Usage: micro ")

    @pytest.mark.parametrize("name", ["events", "dlq", "db", "profile"])
    def test_asking_a_group_for_nothing_prints_its_help(self, name, capsys):
        assert run([name]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: micro {name} ")

    def test_the_version_is_printed_on_request(self, capsys):
        assert run(["--version"]) == 0
        assert re.fullmatch(r"micro \d+\.\d+\.\d+\n", capsys.readouterr().out)


class TestWeight:
    """What a command must not load, because loading it takes longer than the command."""

    @pytest.mark.parametrize(
        ("arguments", "free_of"),
        [
            (
                ["--help"],
                {"micro.commands.stack", "micro.runtime", "asyncio", "msgspec", "rich", "pydantic", "httpx"},
            ),
            (["events", "--help"], {"micro.runtime", "asyncio", "msgspec", "rich", "pydantic", "httpx"}),
            (["ps"], {"starlette", "rich", "pydantic", "httpx", "jwt", "uvicorn"}),
            (["down", "--timeout", "1s"], {"msgspec", "starlette", "rich", "pydantic", "httpx", "jwt"}),
            (["token"], {"starlette", "rich", "pydantic", "httpx", "uvicorn"}),
        ],
    )
    def test_a_verb_loads_what_it_uses(self, arguments, free_of):
        program = (
            "import sys; from micro.cli import run; code = run(sys.argv[1:]);"
            f"print('loaded', sorted(sys.modules.keys() & {sorted(free_of)!r}))"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        assert result.stdout.splitlines()[-1] == "loaded []"


class TestMisuse:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["upp"], "there is no verb 'upp'; did you mean 'up'?"),
            (["xyzzy"], "there is no verb 'xyzzy'"),
            (["events", "tial"], "did you mean 'tail'?"),
            (["ps", "--jsn"], "there is no option --jsn; did you mean '--json'?"),
            (["--jsn"], "there is no option --jsn"),
            (["ps", "-x"], "there is no option -x"),
            (["ps", "extra"], "extra"),
            (["call", "GET"], "missing argument 'PATH'"),
            (["events", "publish", "t", "T"], "missing option '--key'"),
            (["events", "replay", "--topic", "t"], "missing option '--service'"),
            (["wait", "--timeout"], "--timeout"),
            (["wait", "--timeout", "soon"], "--timeout 'soon': is not a duration"),
            (["events", "list", "--limit", "-1"], "--limit '-1': is not a whole number"),
            (["events", "list", "--limit", "many"], "--limit 'many': is not a whole number"),
            (["events", "publish", "t", "T", "--key", "k", "--data", "{bad"], "--data '{bad': is not JSON"),
            (["ps", "--dev", "--prod"], "one profile at a time"),
            (["ps", "-C", "/nowhere"], "there is no folder /nowhere"),
            (["ps"], "no stack is running"),
            (["profile", "show", "nope"], "nope"),
        ],
    )
    def test_misuse_exits_with_2_and_says_what_is_wrong_in_two_lines_at_most(self, capsys, arguments, said):
        code = run(arguments)
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert said in err
        assert err.count("\n") <= 2

    def test_a_process_that_was_misused_prints_just_that(self):
        result = in_process("wait", "--timeout", "soon")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == """error: --timeout 'soon': is not a duration like "15s", "500ms" or "2m"\n"""

    def test_a_refused_option_says_where_its_help_is(self, capsys):
        assert run(["events", "list", "--tpoic", "x"]) == 2
        assert capsys.readouterr().err == (
            "error: there is no option --tpoic; did you mean '--topic'?\nSee: micro events list --help\n"
        )

    @pytest.mark.parametrize("text", ["[broken", "[stack]\nnmae = 'x'", "[services.task]\nport = 'many'"])
    def test_a_broken_configuration_is_named_with_its_file(self, text, tmp_path, capsys):
        (tmp_path / "micro.toml").write_text(text)
        assert run(["profile", "list"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: micro.toml: ")
        assert err.count("\n") <= 2


def raising(error: BaseException):
    def get_command(*arguments):
        raise error

    return get_command


class TestEndings:
    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (StackNotRunning("none here"), 2, "error: none here\n"),
            (ConfigurationError("wrong", file="micro.toml", key="a.b"), 2, "error: micro.toml: a.b: wrong\n"),
            (MicroError("not well"), 1, "error: not well\n"),
            (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied\n"),
            (OSError("odd"), 1, "error: odd\n"),
            (typer.Abort(), 1, "error: aborted\n"),
            (KeyboardInterrupt(), 130, ""),
            (typer.Exit(3), 3, ""),
        ],
    )
    def test_each_error_has_its_exit_code(self, monkeypatch, capsys, error, code, said):
        monkeypatch.setattr(cli.Verbs, "find", raising(error))
        assert run(["ps"]) == code
        assert capsys.readouterr().err == said

    def test_a_fault_of_ours_is_one_sentence_and_a_file(self, monkeypatch, capsys):
        monkeypatch.setattr(cli.Verbs, "find", raising(ZeroDivisionError("oh")))
        assert run(["ps"]) == 1
        first, second = capsys.readouterr().err.splitlines()
        found = re.fullmatch(
            r"error: micro failed \(ZeroDivisionError: oh\); the traceback is in (\S+)", first
        )
        assert found
        assert "MICRO_DEBUG=1" in second
        report = Path(found[1])
        assert "Traceback (most recent call last)" in report.read_text()
        assert report.stat().st_mode & 0o077 == 0
        report.unlink()

    def test_who_looks_for_the_fault_sees_the_traceback(self, monkeypatch):
        monkeypatch.setenv("MICRO_DEBUG", "1")
        monkeypatch.setattr(cli.Verbs, "find", raising(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            run(["ps"])

    @pytest.mark.parametrize("arguments", [["version"], ["--help"]])
    def test_a_reader_that_leaves_hears_nothing(self, arguments):
        read, write = os.pipe()
        os.close(read)
        result = subprocess.run(
            [sys.executable, "-m", "micro", *arguments],
            stdout=write,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        os.close(write)
        assert (result.returncode, result.stderr) in {(0, b""), (1, b"")}, "Typer's own help ends with 1"

    @pytest.mark.parametrize(("closed", "said"), [(1, ("", "")), (2, ("micro ", ""))])
    def test_an_output_that_is_closed_takes_what_is_said_and_no_more(self, closed, said):
        script = f'exec "$0" -m micro version {closed}>&-'
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            ["bash", "-c", script, sys.executable], capture_output=True, text=True, env=environ, check=False
        )
        assert (result.returncode, result.stdout[:6], result.stderr) == (0, *said)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is one on Linux")
    def test_a_full_disk_is_one_sentence(self):
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        script = '"$0" -m micro version >/dev/full'
        result = subprocess.run(
            ["bash", "-c", script, sys.executable], capture_output=True, text=True, env=environ, check=False
        )
        assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")

    def test_a_folder_that_was_removed_is_one_sentence(self, tmp_path):
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        script = 'mkdir "$1" && cd "$1" && rmdir "$1" && exec "$0" -m micro ps'
        result = subprocess.run(
            ["bash", "-c", script, sys.executable, tmp_path / "gone"],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        assert result.returncode == 2
        assert result.stderr == "error: the current folder was removed; go to another one, or say -C DIR\n"

    def test_a_pipe_into_head_is_no_failure(self):
        script = 'set -o pipefail; "$0" -m micro version | head -n 1'
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            ["bash", "-c", script, sys.executable], capture_output=True, text=True, env=environ, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("micro ")

    def test_no_colour_means_none_even_on_a_terminal(self):
        for environ, colored in (({"NO_COLOR": "1"}, False), ({}, True)):
            master, slave = pty.openpty()
            inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            subprocess.run(
                [sys.executable, "-m", "micro", "doctor"],
                stdout=slave,
                env={**inherited, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environ},
                check=False,
            )
            os.close(slave)
            assert (b"\x1b[" in os.read(master, 10_000)) is colored
            os.close(master)

    @pytest.mark.parametrize("moment", ["find_spec", "run"])
    def test_ctrl_c_is_the_exit_code_130_and_no_traceback_even_while_it_is_loaded(self, moment):
        """However somebody's import takes the exception that Python makes of it."""
        script = f"""
import os, signal, sys
from micro import __main__ as beginning

def interrupt(*_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        if {moment!r} == "find_spec":
            raise ImportError("something was interrupted")
        raise

class Finder:
    def find_spec(self, name, *_):
        if name == "micro.cli":
            interrupt()

if {moment!r} == "find_spec":
    sys.meta_path.insert(0, Finder())
else:
    from micro import cli
    cli.Console = interrupt
beginning.main()
"""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=False
        )
        assert (result.returncode, result.stdout, result.stderr) == (130, "", "")

    def test_one_that_is_to_hear_no_ctrl_c_does_not(self):
        script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom micro.__main__ import main\ntry: main()\nfinally: assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", script, "--version"],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")

    def test_both_ways_to_start_it_are_the_same(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["micro", "--version"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert in_process("--version").stdout == capsys.readouterr().out


class TestGlobalOptions:
    def test_they_may_stand_before_or_after_the_verb_and_the_later_wins(self, tmp_path, capsys):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
        for arguments, folder in [
            (["-C", "a", "ps"], "a"),
            (["ps", "-C", "a"], "a"),
            (["-C", "b", "ps", "-C", "a"], "a"),
        ]:
            assert run(arguments) == 2
            assert f"no stack is running in {tmp_path / folder};" in capsys.readouterr().err

    def test_a_profile_after_the_verb_replaces_the_one_before(self, capsys):
        assert run(["--prod", "profile", "show", "--dev", "--json"]) == 0
        assert '"profile":"dev"' in capsys.readouterr().out
        assert run(["--profile", "nope", "profile", "show"]) == 2
        assert "nope" in capsys.readouterr().err


class TestCompletion:
    def complete(self, words: str) -> list[str]:
        environ = {
            "_MICRO_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return in_process(environ=environ).stdout.split()

    def test_verbs_and_options_are_completed(self):
        assert self.complete("micro ev") == ["events"]
        assert self.complete("micro events t") == ["tail", "trace"]
        assert self.complete("micro ps --js") == ["--json"]

    def test_a_wrong_word_is_completed_by_nothing(self):
        assert self.complete("micro xyzzy --js") == []

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_each_shell_gets_a_script(self, shell):
        result = in_process(environ={"_MICRO_COMPLETE": f"source_{shell}"})
        assert "_MICRO_COMPLETE" in result.stdout


def test_the_docstring_of_the_command_line_names_every_exit_code():
    assert all(f"{code}:" in inspect.getdoc(cli) for code in (0, 1, 2, 130))

"""`micro call` and `micro token`, over real HTTP and with real signatures."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import socket
import tomllib

import pytest

from micro.commands.values import member
from micro.config.read import read_config
from micro.security.api_keys import digest_of


@pytest.fixture
def running(stack, echo):
    """A stack whose gateway and task service echo."""
    stack.record["gateway"] = echo
    stack.record["services"] = {"task": f"{echo}/direct", "user": "http://127.0.0.1:1"}
    stack.publish()
    return stack


def claims(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.usefixtures("running")
class TestCall:
    def test_the_body_is_printed_as_it_came(self, micro):
        code, out, err = micro("call", "GET", "/tasks?limit=1")
        assert (code, err) == (0, "")
        assert json.loads(out)["path"] == "/tasks?limit=1"
        assert json.loads(out)["method"] == "GET"

    def test_data_is_sent_as_json(self, micro):
        asked = micro("call", "post", "/tasks", "--data", ' {"title": "Milch ä"} ').json
        assert asked["method"] == "POST"
        assert asked["headers"]["content-type"] == "application/json"
        assert json.loads(asked["body"]) == {"title": "Milch ä"}

    def test_whoever_names_a_type_may_send_anything(self, micro):
        asked = micro(
            "call", "POST", "/x", "-d", "{bad", "-H", "Content-Type: text/plain", "-H", "X-One: 1"
        ).json
        assert asked["body"] == "{bad"
        assert asked["headers"]["content-type"] == "text/plain"
        assert asked["headers"]["x-one"] == "1"

    def test_a_file_of_another_type_goes_as_it_is(self, micro, tmp_path):
        (tmp_path / "image").write_bytes(b"\xff\xd8")
        data = ("--data", f"@{tmp_path / 'image'}")
        asked = micro("call", "POST", "/x", *data, "-H", "Content-Type: image/jpeg").json
        assert asked["headers"]["content-length"] == "2"
        code, _, err = micro("call", "POST", "/x", *data)
        assert (code, err.count("\n")) == (2, 1)
        assert "is not JSON" in err

    def test_a_field_may_hold_what_is_no_ascii(self, micro):
        asked = micro("call", "GET", "/x", "-H", "X-City: Köln").json
        assert asked["headers"]["x-city"].encode("latin-1").decode() == "Köln"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("/x", "-H", "X City: a"), "--header 'X City: a': write 'Name: value'"),
            (("/x", "-H", "Stadt-Köln: a"), "--header 'Stadt-Köln: a': write 'Name: value'"),
            (("/x", "-H", "X-City: a\nb"), r"--header 'X-City: a\nb': write 'Name: value'"),
            (("/x", "-H", "no colon"), "--header 'no colon': write 'Name: value'"),
            (("/x", "-H", "Content-Length: 7"), "--header: content-length says how long the body is"),
            (("/x\udcff",), r"PATH '/x\udcff': write what can't be printed as %XX"),
            (("x",), "PATH 'x': begins with a slash, as in /tasks"),
            (("/x", "-d", "@nowhere"), "--data '@nowhere': can't be read: No such file or directory"),
        ],
    )
    def test_what_can_not_be_sent_is_one_sentence(self, micro, arguments, said):
        code, out, err = micro("call", "GET", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {said}")

    def test_a_status_of_400_or_more_exits_with_1_and_says_which(self, micro):
        code, out, err = micro("call", "GET", "/404")
        assert code == 1
        assert json.loads(out)["path"] == "/404"
        assert err == "404 Not Found\n"

    def test_the_head_is_printed_when_it_is_asked_for(self, micro):
        out = micro("call", "GET", "/503", "-i").out
        head, _, body = out.partition("\n\n")
        assert head.startswith("HTTP/1.1 503 Service Unavailable\n")
        assert "content-type: application/json" in head
        assert json.loads(body)["path"] == "/503"

    def test_as_json_status_head_and_body_are_one_object(self, micro):
        result = micro("call", "GET", "/404", "--json")
        assert result.code == 1
        assert result.json["status"] == 404
        assert result.json["headers"]["content-type"] == "application/json"
        assert result.json["body"]["path"] == "/404"
        assert micro("call", "GET", "/plain", "--json").json["body"].startswith("plain")

    def test_a_service_can_be_asked_on_its_own_port(self, micro):
        assert micro("call", "GET", "/tasks", "--service", "task").json["path"] == "/direct/tasks"

    def test_an_unknown_service_gets_the_nearest_name(self, micro):
        code, _, err = micro("call", "GET", "/", "--service", "taks")
        assert code == 2
        assert "there is no service 'taks'; did you mean 'task'?" in err

    def test_it_speaks_as_whom_one_likes(self, micro):
        asked = micro("call", "GET", "/", "--as", "ada", "--role", "admin").json
        kind, token = asked["headers"]["authorization"].split()
        assert kind == "Bearer"
        assert (claims(token)["sub"], claims(token)["role"]) == ("ada", "admin")
        assert "authorization" not in micro("call", "GET", "/").json["headers"]

    def test_a_token_is_sent_as_it_is(self, micro):
        asked = micro("call", "GET", "/", "--token", "abc.d-_f=").json
        assert asked["headers"]["authorization"] == "Bearer abc.d-_f="

    @pytest.mark.parametrize(
        ("field", "printed"),
        [("method", "GET\n"), ("headers.x-list", "1,2\n"), ("headers", None), ("body", "\n")],
    )
    def test_one_member_of_the_answer_is_printed_bare_and_an_object_as_json(self, micro, field, printed):
        code, out, err = micro("call", "GET", "/x", "--field", field, "-H", "X-List: 1,2")
        assert (code, err) == (0, "")
        assert out == printed if printed else json.loads(out)["x-list"] == "1,2"

    def test_a_member_that_is_not_there_is_one_sentence_on_stderr(self, micro):
        code, out, err = micro("call", "GET", "/x", "--field", "items.0.id")
        assert (code, out) == (1, "")
        assert err.startswith("error: GET /x: no 'items.0.id' in the answer: it has ")
        assert err.count("\n") == 1
        code, out, err = micro("call", "GET", "/plain", "--field", "id")
        assert (code, out, err.count("\n")) == (1, "", 1)

    def test_the_body_of_a_failure_is_never_taken_for_a_member(self, micro):
        code, out, err = micro("call", "GET", "/404", "--field", "path")
        assert (code, out) == (1, "")
        status, body = err.splitlines()
        assert status == "404 Not Found"
        assert json.loads(body)["path"] == "/404"

    def test_on_a_terminal_a_member_can_not_move_the_cursor(self, micro_process):
        master, slave = pty.openpty()
        process = micro_process(
            "call", "POST", "/x", "--data", '"\\u001b[2J"', "--field", "body", stdout=slave
        )
        with process:
            os.close(slave)
            assert process.wait(60) == 0
            assert b"\x1b" not in os.read(master, 4000)
        os.close(master)

    def test_no_answer_is_one_sentence(self, micro):
        code, out, err = micro("call", "GET", "/", "--service", "user")
        assert (code, out) == (1, "")
        assert err.startswith("error: GET /: ")
        assert err.count("\n") == 1

    def test_an_answer_that_is_late_is_one_sentence(self, micro, running):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            running.record["gateway"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
            running.publish()
            code, _, err = micro("call", "GET", "/", "--timeout", "50ms")
        assert code == 1
        assert "no answer within 0.05 s" in err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["GET", "tasks"], "begins with a slash"),
            (["GE T", "/"], "is not a method"),
            (["POST", "/", "--data", "{bad"], "--data '{bad': is not JSON"),
            (["POST", "/", "--data", "@missing"], "can't be read"),
            (["GET", "/", "-H", "novalue"], "write 'Name: value'"),
            (["GET", "/", "--timeout", "soon"], "--timeout 'soon': is not a duration"),
            (["GET", "/\x7f"], "PATH"),
            (["GET", "/", "--token", "x", "--as", "ada"], "one token at a time: give --token or --as"),
            (["GET", "/", "--token", ""], "--token: is empty"),
            (["GET", "/", "--token", "secret x"], "no bearer token has"),
            (["GET", "/", "--field", "id", "--json"], "leave out --json and --include"),
            (["GET", "/", "--field", "id", "-i"], "leave out --json and --include"),
        ],
    )
    def test_misuse_is_one_sentence(self, micro, arguments, said):
        code, out, err = micro("call", *arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1

    def test_json_is_laid_out_on_a_terminal_and_text_is_left_alone(self, micro_process):
        for path, expected in (("/x", b'  "method": "GET"'), ("/plain", b"plain \xff")):
            master, slave = pty.openpty()
            process = micro_process("call", "GET", path, stdout=slave)
            with process:
                os.close(slave)
                assert process.wait(60) == 0
                assert expected in os.read(master, 4000)
            os.close(master)


class TestToken:
    def test_it_is_printed_bare_and_needs_no_stack(self, micro):
        code, out, err = micro("token")
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        assert (claims(out)["sub"], claims(out)["role"], claims(out)["iss"]) == (
            "micro",
            "user",
            "micro:stack",
        )

    def test_subject_role_and_life_are_as_said(self, micro):
        found = claims(micro("token", "ada", "--role", "admin", "--ttl", "2m").out)
        assert (found["sub"], found["role"], found["exp"] - found["iat"]) == ("ada", "admin", 120)

    def test_the_key_stays_the_same_and_is_for_its_owner_only(self, micro, home):
        heads = {micro("token").out.split(".")[0] for _ in range(2)}
        assert len(heads) == 1
        (key,) = (home / ".micro" / "keys").iterdir()
        assert key.stat().st_mode & 0o077 == 0

    def test_scopes_are_in_it_in_one_claim(self, micro):
        found = claims(micro("token", "ada", "--scope", "orders:write", "--scope", "orders:read").out)
        assert found["scope"] == "orders:read orders:write"
        assert "scope" not in claims(micro("token").out)

    @pytest.mark.parametrize("scope", ["a b", "", 'say "x"', "ä"])
    def test_what_can_be_no_scope_is_refused(self, micro, scope):
        code, out, err = micro("token", "--scope", scope)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: --scope {scope!r}: is one word")

    def test_an_api_key_comes_with_the_table_that_lets_it_in(self, micro):
        code, key, table = micro("token", "ci", "--api-key", "--role", "bot", "--scope", "b", "--scope", "a")
        assert code == 0
        assert re.fullmatch(r"micro_[\w-]{43}\n", key)
        (found,) = tomllib.loads(table)["gateway"]["api_keys"].values()
        assert found == {"hash": digest_of(key.strip()), "role": "bot", "scopes": ["a", "b"]}
        assert key.strip() not in table

    def test_an_api_key_s_table_is_one_that_the_configuration_takes(self, micro, home):
        (home / "micro.toml").write_text("[stack]\nbuiltin = true" + micro("token", "ci", "--api-key").err)
        assert read_config(home, {}).stack.gateway.api_keys["ci"].role == "user"

    def test_no_two_api_keys_are_the_same(self, micro):
        assert len({micro("token", "ci", "--api-key").out for _ in range(5)}) == 5

    @pytest.mark.parametrize("name", [[], ["No Name"], ["micro"], ["x" * 41]])
    def test_an_api_key_needs_a_name_that_a_table_can_have(self, micro, name):
        code, out, err = micro("token", *name, "--api-key")
        assert (code, out) == (2, "")
        assert err.startswith("error: SUBJECT")

    def test_a_bad_span_is_refused(self, micro):
        code, out, err = micro("token", "--ttl", "15")
        assert (code, out) == (2, "")
        assert err.startswith("error: --ttl '15': is not a duration")


class TestMember:
    VALUE = {"a": {"b": [{"id": 1}, None]}, "items": [], "t": "x"}  # noqa: RUF012 # read only

    @pytest.mark.parametrize(
        ("path", "value"), [("t", "x"), ("a.b.0.id", 1), ("a.b.1", None), ("items", []), ("a.b.0", {"id": 1})]
    )
    def test_a_path_leads_into_objects_and_lists(self, path, value):
        assert member(self.VALUE, path) == value

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("x", "it has a, items, t"),
            ("a.b.2", "a.b is a list of 2"),
            ("items.0.id", "items is a list of 0"),
            ("items.-1", "items is a list of 0"),
            ("t.u", "t has no members"),
            ("a.b.1.c", "a.b.1 has no members"),
        ],
    )
    def test_where_it_leads_nowhere_the_last_place_reached_is_named(self, path, why):
        with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
            member(self.VALUE, path)

    def test_an_empty_object_is_called_one(self):
        with pytest.raises(ValueError, match=r"^it is an empty object$"):
            member({}, "id")

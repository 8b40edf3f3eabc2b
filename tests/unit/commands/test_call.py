"""`micro call` and `micro token`, over real HTTP and with real signatures."""

from __future__ import annotations

import base64
import json
import os
import pty
import socket

import pytest


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
                assert process.wait(20) == 0
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

    def test_a_bad_span_is_refused(self, micro):
        code, out, err = micro("token", "--ttl", "15")
        assert (code, out) == (2, "")
        assert err.startswith("error: --ttl '15': is not a duration")

"""A child that speaks the life line as the file `mode` in its folder says. No part of micro is in it.

python scripted_child.py FD INSTANCE
"""

import json
import os
import signal
import socket
import sys

line = socket.socket(fileno=int(sys.argv[1]))
reader = line.makefile("rb")
mode = open("mode").read()  # noqa: SIM115, PTH123 # a script of a few lines


def say(**message):
    line.sendall(json.dumps(message).encode() + b"\n")


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    described = json.loads(reader.readline())["args"]
    if mode == "refuses":
        say(
            say="failed",
            args={"error": f"{described['instance'] if 'instance' in described else sys.argv[2]} won't"},
        )
        sys.exit(2)
    if mode == "dies":
        print("last words", flush=True)
        sys.exit(3)
    if mode == "babbles":
        say(say="ready", args={})
    if mode == "loads":
        reader.readline()
    say(
        say="built",
        args={"facts": {"port": described["number"], "fds": [fd for fd in range(256) if is_open(fd)]}},
    )
    told = told_to_start()
    if mode == "refuses to start":
        say(say="failed", args={"error": "no database"})
        sys.exit(2)
    print("\x1ealready logged", flush=True)
    print(f"told {sorted(told)}", flush=True)
    say(say="ready", args={"port": 1000 + described["number"], "seconds": 0.5})
    for question in reader:
        asked = json.loads(question)
        if "ask" in asked:
            answer(asked)


def told_to_start():
    while "ask" in (message := json.loads(reader.readline())):
        if mode == "dies opening":
            print("last words", flush=True)
            sys.exit(3)
        if mode != "opens for ever":
            say(answer=message["ask"], end={})
    return message["args"]


def answer(asked):
    number = asked["ask"]
    state = open("health").read() if os.path.exists("health") else "healthy"  # noqa: SIM115, PTH123, PTH110 # as above
    if asked["verb"] == "health":
        say(answer=number, end={"state": state, "reason": "" if state == "healthy" else "feels bad"})
    elif asked["verb"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        say(answer=number, error={"kind": "usage", "message": f"{asked['verb']}: never heard of"})


main()

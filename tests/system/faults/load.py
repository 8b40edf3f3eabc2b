"""Clients that enter things at a steady pace, whatever happens, and note what they saw committed."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from itertools import count

CLIENTS = 4
PACE = 10.0, 5.0
"""Requests a second of each client, of one entry or two; and in a hurry, which is on a machine with more to do."""
KEYS = 4
"""Of each client; no other enters anything under them."""
_ANSWER = 20.0
AWAY = {502, 503, 504}
"""What is answered while something is away."""


class Load:
    """Runs within its `with` block. Keys begin with the name."""

    def __init__(self, world, name, *, risky=False):
        self.name = name
        self.seen = []
        """Ids of the events that somebody was told are committed."""
        self.refused = Counter()
        """What was answered otherwise, or went wrong."""
        self._world = world
        self._risky = risky
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, client):
        clock = self._world.clock
        connection = http.client.HTTPConnection(self._world.gateway, timeout=_ANSWER)
        due, pause = clock.monotonic(), 1 / PACE[self._world.hurry]
        for number in count():
            due = max(due + pause, clock.monotonic())
            if self._over.wait(due - clock.monotonic()):
                break
            try:
                self.enter(connection, f"{self.name}.{client}.{number % KEYS}", number)
            except (OSError, http.client.HTTPException) as error:
                self.refused[type(error).__name__] += 1
                connection.close()
        connection.close()

    @property
    def wrong(self):
        """How many answers should not be given whatever happens."""
        return sum(
            times for what, times in self.refused.items() if isinstance(what, int) and what not in AWAY
        )

    def enter(self, connection, key, number, *, hold=0):
        """One request with one entry or two, of which some are not handled at once."""
        entries = [{"key": key, "type": "Entered", "flaky": 3 if number % 11 == 7 else 0}]
        if number % 2:
            risky = self._risky and number % 7 == 3
            entries.append({"key": key, "type": "Risky" if risky else "Entered", "flaky": 0})
        body = json.dumps({"request": f"{key}.{number}", "entries": entries, "hold": hold})
        connection.request("POST", "/entries", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == 201:
            self.seen += json.loads(text)["ids"]
        else:
            self.refused[answer.status] += 1

"""Every scenario: F1 to F14 of the list, but for those that are about one part (F8 and F9) and tested there."""

from __future__ import annotations

from functools import partial

from faults import letters, processes, servers
from faults.scenario import Scenario, in_turn

LONG = [
    *(
        Scenario(fault="F1", text=f"kill -9 {text}", inject=partial(processes.kill_at, point=point))
        for text, point in processes.CRASH_POINTS.items()
    ),
    Scenario(
        fault="F2", text="kill -9 of any process, again and again", inject=processes.kill_again_and_again
    ),
    Scenario(fault="F2", text="kill -9 of all processes at once", inject=processes.kill_everything),
    *(
        Scenario(
            fault="F3", text=f"SIGSTOP of {who}", inject=partial(processes.stop_and_continue, points=[point])
        )
        for who, point in processes.STOP_POINTS.items()
    ),
    Scenario(fault="F4", text="PostgreSQL restarts, by kill -9 too", inject=servers.restart_postgres),
    Scenario(fault="F4", text="pg_terminate_backend of every connection", inject=servers.terminate_backends),
    Scenario(fault="F4", text="connections exhausted", inject=servers.exhaust_pools),
    Scenario(fault="F5", text="kill -9 of the broker", inject=servers.restart_kafka),
    Scenario(fault="F5", text="connections to the broker reset", inject=servers.reset_links),
    Scenario(fault="F5", text="0.2 s each way to the broker", inject=servers.slow_link),
    Scenario(fault="F5", text="nothing gets through to the broker", inject=servers.cut_link),
    Scenario(fault="F6", text="members come and go", inject=processes.rebalance),
    Scenario(fault="F7", text="a write transaction rests", inject=servers.idle_in_transaction),
    Scenario(fault="F10", text="disk full", inject=servers.full_disk),
    Scenario(fault="F10", text="disk full under PostgreSQL itself", inject=servers.postgres_on_a_full_disk),
    Scenario(fault="F10", text="databases only read", inject=servers.read_only),
    Scenario(fault="F11", text="event loop blocked", inject=processes.block),
    Scenario(fault="F12", text="two relays hold the same buckets", inject=processes.claim_twice),
    Scenario(fault="F13", text="dead letters replayed while live", inject=letters.redrive, risky=True),
    Scenario(
        fault="F13",
        text="events replayed while live",
        inject=letters.replay,
        after=letters.positions_stay,
        again=("0.0", "0.1"),
    ),
    Scenario(fault="F14", text="stopped, the grace time over", inject=processes.outlive_the_grace_time),
]
AT_ONCE = {"F3": partial(processes.stop_and_continue, points=[*processes.STOP_POINTS.values()])}
"""What need not be done in turn."""
SHORT = [
    Scenario(
        fault=fault,
        text="; ".join(dict.fromkeys(each.text for each in scenarios)),
        inject=AT_ONCE.get(fault) or in_turn(*(each.inject for each in scenarios)),
        after=next((each.after for each in scenarios if each.after), None),
        risky=any(each.risky for each in scenarios),
        again=tuple(key for each in scenarios for key in each.again),
    )
    for fault in dict.fromkeys(each.fault for each in LONG)
    for scenarios in [[each for each in LONG if each.fault == fault]]
]
"""One for each fault, with everything that the long form does one by one."""

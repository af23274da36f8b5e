"""A process of the engine "local": a task a line on standard input, an event a line on standard output.

Started as `python -m validation.engines.worker PARCEL OUT`. It ends when its standard input does, so no worker outlives
the validation that started it, however that ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from validation.engines.events import Event


def main(parcel: str, out: str) -> None:
    """Serves until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started us decides
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a user's code prints must not end up between events

    def send(event: Event) -> None:
        stream.write(json.dumps(event) + "\n")
        stream.flush()

    tasks: SimpleQueue[str] = SimpleQueue()
    Thread(target=_read, args=(tasks,), daemon=True).start()
    from validation.engines.perform import mishap, perform, task_from_json

    try:
        from validation.engines.parcel import unpack

        study, counts = unpack(Path(parcel), Path(out))
    except Exception as error:
        tasks.get()
        send(mishap(error))
        return
    while True:
        task = task_from_json(json.loads(tasks.get()))
        ended: list[str] = []

        def told(event: Event, ended: list[str] = ended) -> None:
            ended.append(event["event"])
            send(event)

        perform(study, counts, task, told)
        if ended[-1] == "memory":
            return


def _read(tasks: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a measuring run still has to do, and what of it comes next."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_from
from advisor.devices.inplace.template import Choice
from advisor.devices.measuring.drift import drifts, is_noisy
from advisor.devices.measuring.work import worths

if TYPE_CHECKING:
    from advisor.devices.measuring.lookout import Lookout
    from advisor.devices.measuring.session import Session
    from advisor.devices.measuring.work import Task

_BOTH_WAYS = 6  # sparse forms that are timed alone, too, where others can be timed alone only


class Todo:
    """Keeps account of passes (many layers at once, in place) and of single executions (alone).

    Args:
        lookout: ranks what waits after each pass; the order that is known beforehand stays without one.

    Attributes:
        passes: how many passes there have been.
        done: how many tasks were known when this run began.
    """

    def __init__(
        self,
        session: Session,
        tasks: Sequence[Task],
        records: Sequence[dict[str, Any]],
        lookout: Lookout | None = None,
    ) -> None:
        self._lookout, self._stale = lookout, True
        self._session, self._tasks = session, list(tasks)
        in_place = session.in_place
        self._by_pass = session.passes.keys() if session.passes is not None else frozenset()
        alone = [t for t in self._tasks if t.execution.key not in in_place and t.execution.key not in self._by_pass]
        self._in_place = in_place
        self._waiting = {t.execution.key for t in self._tasks} - in_place
        self._alone = self._pairs(alone) + alone
        self._worth = self._before = worths(self._tasks)
        self._known: set[str] = set()
        self._lasted: dict[str, list[float]] = {"pass": [], "alone": []}
        self.passes = 0
        for record in records:
            self.tell(record, float(record["seconds"]))
        self.done = len({t.execution.key for t in self._tasks} & (self._known | (in_place if records else set())))

    def _pairs(self, alone: Sequence[Task]) -> list[Task]:
        """Timed alone although they are timed in place: what the others' correction is learned from."""
        if not alone or not self._in_place:
            return []
        pairs = [t for t in self._tasks if t.execution.key in self._in_place]
        if any(t.execution.method == "direct" for t in alone):
            pairs += [t for t in self._tasks if t.execution.key in self._by_pass][:_BOTH_WAYS]
        return pairs

    @property
    def anything(self) -> bool:
        """Whether anything is known yet."""
        return bool(self._known) or bool(self._in_place)

    def seen_in_place(self) -> int:
        """How many tasks the dense network itself shows."""
        return len({t.execution.key for t in self._tasks} & self._in_place)

    @property
    def alone_left(self) -> int:
        return len(self._alone)

    @property
    def passes_left(self) -> int:
        """At least; twins share a pass, and the layer with the most forms decides."""
        passes = self._session.passes
        return passes.left(self._waiting) if passes is not None else 0

    def keys_of(self, choices: dict[str, Choice]) -> list[str]:
        template = self._session.template
        return (
            [e.key for name, choice in choices.items() for e in template.executions_of(name, choice)]
            if template is not None
            else []
        )

    def lasts(self, job: Task | dict[str, Choice]) -> float:
        """About how long a job takes, as the last ones of its kind did, in seconds."""
        lasted = self._lasted["pass" if isinstance(job, dict) else "alone"][-3:]
        return fmean(lasted) if lasted and isinstance(job, dict) else 0.0

    def next(self) -> Task | dict[str, Choice] | None:
        """What is worth most in the time that it takes; None where all is done."""
        if self._lookout is not None and self._stale and self.anything and self.passes_left:
            self._worth = {**self._before, **self._lookout(self._waiting, self._before)}
            self._stale = False
        wanted = {key: value for key, value in self._worth.items() if key in self._waiting and key in self._by_pass}
        assigned, total = self._session.passes.next(wanted) if self._session.passes is not None else ({}, 0.0)
        single = self._alone[0] if self._alone else None
        if total <= 0:
            return single
        if single is None:
            return assigned
        if single.execution.key not in self._waiting:
            # Both ways: needed for the others that are timed alone.
            ahead = max((self._worth.get(t.execution.key, 0.0) for t in self._alone), default=0.0)
        else:
            ahead = self._worth.get(single.execution.key, 0.0)
        lasts = {kind: fmean(seconds[-3:]) if seconds else 1.0 for kind, seconds in self._lasted.items()}
        return assigned if total / lasts["pass"] >= ahead / lasts["alone"] else single

    def noisy(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Choice]]:
        """The choices of passes that something else disturbed and that were not repeated yet, the worst first.

        Half of all passes at most: where more are disturbed, quiet is not to be had.
        """
        fine = [record for record in records if "failed" not in record]
        if self._session.template is None or not fine:
            return []
        known = set(self._session.template.calls)
        pairs = [(record, drift) for record, drift in zip(fine, drifts(fine), strict=True) if "found" in record]
        again = sum(1 for record, _ in pairs if record.get("again"))
        disturbed = sorted((p for p in pairs if is_noisy(*p) and not p[0].get("again")), key=lambda p: -p[1].slower)
        most = max((len(pairs) - again) // 2, 1)
        found = []
        for record, _ in disturbed[again:most]:
            forms = [(str(item["layer"]), execution_from(item["execution"])) for item in record["found"]]
            found.append({name: Choice(e.kept, e.block) for name, e in forms if name in known})
        return found

    def tell(self, record: dict[str, Any], seconds: float) -> int:
        """Takes note of what was measured; how many tasks were learned."""
        key = str(record["key"])
        if key.startswith("whole:"):
            return 0
        if key.startswith("pass:"):
            self.passes += 1
            self._stale = True
            self._lasted["pass"].append(seconds)
            if "failed" in record:
                # One of them does not run here: each is tried alone.
                tried = set(record["tried"]) & self._waiting
                self._by_pass -= tried
                self._alone += [t for t in self._tasks if t.execution.key in tried]
                return 0
            found = {execution_from(item["execution"]).key for item in record["found"]}
        else:
            self._lasted["alone"].append(seconds)
            self._alone = [t for t in self._alone if t.execution.key != key]
            found = {key}
        learned = found & self._waiting
        self._waiting -= learned
        self._known |= found
        return len(learned)

"""Who gets the next token: priorities, fair share, aging, admission by memory.

Pure bookkeeping over tickets under a clock that is passed in. Knows no model, tokens or threads; the worker asks it
what to start, what to stop and how many rows each request gets in the next step, and tells it what was done.

The rules, in this order:
  1. A class (interactive, normal, background) goes before the next one. While a request of a higher class can use the
     processor, lower ones get no rows: preemption at the next token.
  2. Aging: each `aging` seconds without a row lift a request by one class, without bound, so none starves.
  3. Inside a class, clients that consumed less go first, in quanta of `QUANTUM` tokens; a client that comes back starts
     at the least of those present (start-time fair queuing, Goyal et al. 1996).
  4. Inside a quantum, the cheapest goes first: prompt - resident prefix + expected output. Then the oldest.
  5. What does not fit into memory now waits, and nothing behind it in its order overtakes it, unless lower-class work
     can be suspended for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from llmos.messages import CLASSES, Priority

QUANTUM = 2048
_MANY_CLIENTS = 1024
HEADROOM = 64  # cells kept for the answer of a request when it is admitted


@dataclass(eq=False, slots=True)
class Ticket:
    """What the scheduler knows of one request.

    Attributes:
        adapter: Requests with different adapters can't share a step.
        arrived: When it came, in seconds of the clock.
        served: When it last got a row or was admitted.
        prompt: Tokens it still has to read before it can answer, as if nothing were cached.
        resident: Of these, how many have state in the cells.
        expected: Tokens its answer may have.
        rows: Rows it could use in the next step, while running.
        decoding: Whether it has begun to answer.
        fragile: Whether being suspended costs it its work: it would begin again.
    """

    client: str
    priority: Priority
    adapter: str = ""
    arrived: float = 0.0
    served: float = 0.0
    prompt: int = 0
    resident: int = 0
    expected: int = HEADROOM
    rows: int = 0
    decoding: bool = False
    fragile: bool = False

    @property
    def level(self) -> int:
        """Its class: 0 is the most urgent."""
        return CLASSES[self.priority]

    @property
    def cost(self) -> int:
        """Predicted tokens of work."""
        return max(self.prompt - self.resident, 0) + self.expected


@dataclass(slots=True)
class Shares:
    """Tokens consumed by each client, per class."""

    consumed: dict[tuple[int, str], float] = field(default_factory=dict[tuple[int, str], float])

    def join(self, ticket: Ticket, present: Iterable[Ticket]) -> None:
        """Let a client that was away start where the least served of those present is."""
        others = [
            self.consumed.get((other.level, other.client), 0.0)
            for other in present
            if other.level == ticket.level and other.client != ticket.client
        ]
        key = (ticket.level, ticket.client)
        self.consumed[key] = max(self.consumed.get(key, 0.0), min(others, default=0.0))

    def leave(self, ticket: Ticket, present: Iterable[Ticket]) -> None:
        """Forget a class's shares once nobody is in it, and those of absent clients once there are many."""
        others = {(other.level, other.client) for other in present}
        if len(self.consumed) > _MANY_CLIENTS + len(others):
            self.consumed = {key: value for key, value in self.consumed.items() if key in others}
        elif all(level != ticket.level for level, _ in others):
            self.consumed = {key: value for key, value in self.consumed.items() if key[0] != ticket.level}

    def charge(self, ticket: Ticket, tokens: int) -> None:
        """Count tokens that a ticket used."""
        key = (ticket.level, ticket.client)
        self.consumed[key] = self.consumed.get(key, 0.0) + tokens

    def of(self, ticket: Ticket) -> int:
        """Quanta that the ticket's client has consumed."""
        return int(self.consumed.get((ticket.level, ticket.client), 0.0)) // QUANTUM


class Scheduler:
    """Decides over waiting and running tickets.

    Args:
        slots: Requests that may run at once.
        aging: Seconds without a row after which a request rises by one class.
    """

    def __init__(self, *, slots: int, aging: float = 0.5) -> None:
        self.slots = slots
        self.aging = aging
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []
        self._shares = Shares()

    def add(self, ticket: Ticket, now: float) -> None:
        """A new request waits."""
        ticket.arrived = ticket.served = now
        self._shares.join(ticket, [*self.waiting, *self.running])
        self.waiting.append(ticket)

    def remove(self, ticket: Ticket) -> None:
        """A request has ended, wherever it was."""
        for queue in (self.waiting, self.running):
            if ticket in queue:
                queue.remove(ticket)
        self._shares.leave(ticket, [*self.waiting, *self.running])

    def start(self, ticket: Ticket, now: float) -> None:
        """A waiting request runs."""
        self.waiting.remove(ticket)
        self.running.append(ticket)
        ticket.served = now

    def suspend(self, ticket: Ticket) -> None:
        """A running request waits again; it keeps its age."""
        self.running.remove(ticket)
        self.waiting.append(ticket)

    def charge(self, ticket: Ticket, rows: int, now: float) -> None:
        """A request used rows of a step."""
        ticket.served = now
        self._shares.charge(ticket, rows)

    def order(self, tickets: Iterable[Ticket], now: float) -> list[Ticket]:
        """Tickets by rules 1 to 4."""
        return sorted(
            tickets,
            key=lambda ticket: (self._aged(ticket, now), self._shares.of(ticket), ticket.cost, ticket.arrived),
        )

    def admissible(
        self, now: float, fits: Callable[[Ticket], bool], blocked: Callable[[Ticket], bool]
    ) -> tuple[Ticket | None, Ticket | None]:
        """The next request to start, or the running one to suspend for it, or neither.

        Args:
            fits: Whether there is memory for a ticket now.
            blocked: Whether a ticket waits for something else (a prefix that another request is reading).
        """
        for ticket in self.order(self.waiting, now):
            if blocked(ticket):
                continue
            if len(self.running) < self.slots and fits(ticket):
                return ticket, None
            return None, self.victim(ticket, now)
        return None, None

    def victim(self, favored: Ticket | None, now: float) -> Ticket | None:
        """The running request to suspend: the last in order, and of a lower class than the favored one, if given.

        A fragile one is suspended only where cells ran out among such ones: always the youngest, so that the oldest
        comes to its end.
        """
        for ticket in reversed(self.order(self.running, now)):
            if not ticket.fragile and (favored is None or ticket.level > favored.level):
                return ticket
        if favored is not None or len(self.running) < 2:
            return None
        return max(self.running, key=lambda ticket: ticket.arrived)

    def rows(self, now: float, *, capacity: int, prompt_budget: int) -> list[tuple[Ticket, int]]:
        """Rows for the next step: first those that answer, then prompts within their budget.

        Args:
            capacity: Rows of one step.
            prompt_budget: Of these, rows for prompts.
        """
        ready = [ticket for ticket in self.running if ticket.rows > 0]
        if not ready:
            return []
        base = min(ticket.level for ticket in ready)
        ready = [ticket for ticket in self.order(ready, now) if self._aged(ticket, now) <= base]
        adapter = min(ready, key=lambda ticket: ticket.served).adapter  # whoever waited longest: adapters take turns
        ready = [ticket for ticket in ready if ticket.adapter == adapter]
        granted: list[tuple[Ticket, int]] = []
        for ticket in (ticket for ticket in ready if ticket.decoding):
            rows = min(ticket.rows, capacity)
            if rows == ticket.rows:  # an answer's rows belong together
                granted.append((ticket, rows))
                capacity -= rows
        budget = min(capacity, prompt_budget)
        for ticket in (ticket for ticket in ready if not ticket.decoding):
            rows = min(ticket.rows, budget)
            if rows > 0:
                granted.append((ticket, rows))
                budget -= rows
        return granted

    def _aged(self, ticket: Ticket, now: float) -> int:
        return ticket.level - int(max(now - ticket.served, 0.0) / self.aging)

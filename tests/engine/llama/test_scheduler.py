"""The scheduler under a virtual clock: no request is lost or starves, budgets hold, the order is the documented one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.engine.llama.scheduler import QUANTUM, Scheduler, Ticket
from llmos.messages import Priority

CAPACITY = 64
CELLS = 400
STEP = 0.05


@dataclass
class Work:
    ticket: Ticket
    prompt: int
    answer: int
    arrives: int
    read: int = 0
    done: int = 0

    @property
    def cells(self) -> int:
        return self.read + self.done


class Machine:
    """Runs a scheduler as the worker does, on requests that are only numbers."""

    def __init__(self, works: list[Work], *, slots: int, budget: int) -> None:
        self.scheduler = Scheduler(slots=slots)
        self.works, self.budget = works, budget
        self.by_ticket = {work.ticket: work for work in works}
        self.now = 0.0
        self.finished: list[Work] = []
        self.longest_wait = 0.0

    def used(self) -> int:
        return sum(self.by_ticket[ticket].cells for ticket in self.scheduler.running)

    def fits(self, ticket: Ticket) -> bool:
        return self.used() + ticket.prompt + 16 <= CELLS or not self.scheduler.running

    def admit(self) -> None:
        while True:
            ticket, victim = self.scheduler.admissible(self.now, self.fits, lambda _: False)
            if victim is not None:
                assert ticket is None
                self.scheduler.suspend(victim)
                self.by_ticket[victim].read = self.by_ticket[victim].done = 0  # nothing cached: read it all again
            elif ticket is not None:
                self.scheduler.start(ticket, self.now)
            else:
                return

    def step(self, number: int) -> None:
        for work in self.works:
            if work.arrives == number:
                self.scheduler.add(work.ticket, self.now)
        self.admit()
        assert len(self.scheduler.running) <= self.scheduler.slots
        for ticket in self.scheduler.running:
            work = self.by_ticket[ticket]
            ticket.decoding = work.read >= work.prompt
            ticket.rows = 1 if ticket.decoding else work.prompt - work.read
        granted = self.scheduler.rows(self.now, capacity=CAPACITY, prompt_budget=self.budget)
        assert sum(rows for _, rows in granted) <= CAPACITY
        assert sum(rows for ticket, rows in granted if not ticket.decoding) <= self.budget
        assert len({ticket.adapter for ticket, _ in granted}) <= 1
        assert granted or not self.scheduler.running
        self.now += STEP
        for ticket, rows in granted:
            self.longest_wait = max(self.longest_wait, self.now - ticket.served)
            self.advance(self.by_ticket[ticket], rows)

    def advance(self, work: Work, rows: int) -> None:
        self.scheduler.charge(work.ticket, rows, self.now)
        if work.ticket.decoding:
            work.done += 1
        else:
            work.read += rows
        if work.done == work.answer:
            self.scheduler.remove(work.ticket)
            self.finished.append(work)


@st.composite
def workloads(draw: st.DrawFn) -> list[Work]:
    count = draw(st.integers(1, 12))
    works: list[Work] = []
    for _ in range(count):
        prompt, answer = draw(st.integers(1, 150)), draw(st.integers(1, 25))
        priority: Priority = draw(st.sampled_from(["interactive", "normal", "background"]))
        ticket = Ticket(
            client=draw(st.sampled_from("abc")),
            priority=priority,
            adapter=draw(st.sampled_from(["", "", "lora"])),
            prompt=prompt,
            expected=answer,
        )
        works.append(Work(ticket, prompt, answer, draw(st.integers(0, 30))))
    return works


@settings(max_examples=200, deadline=None)
@given(works=workloads(), slots=st.integers(1, 6), budget=st.integers(8, CAPACITY))
def test_every_request_finishes_and_budgets_hold(works: list[Work], slots: int, budget: int) -> None:
    machine = Machine(works, slots=slots, budget=budget)
    for number in range(6000):
        machine.step(number)
        if len(machine.finished) == len(works):
            break
    assert len(machine.finished) == len(works)
    assert not machine.scheduler.waiting
    assert not machine.scheduler.running


def ticket(priority: Priority = "normal", client: str = "", **numbers: int) -> Ticket:
    return Ticket(
        client=client, priority=priority, prompt=numbers.get("prompt", 10), resident=numbers.get("resident", 0)
    )


def started(scheduler: Scheduler, *tickets: Ticket, decoding: bool = True) -> None:
    for one in tickets:
        scheduler.add(one, 0.0)
        scheduler.start(one, 0.0)
        one.rows, one.decoding = 1, decoding


def test_background_work_pauses_at_the_next_token_while_a_person_waits() -> None:
    scheduler = Scheduler(slots=4)
    person, background = ticket("interactive"), ticket("background")
    started(scheduler, person, background)
    assert [one for one, _ in scheduler.rows(0.0, capacity=8, prompt_budget=8)] == [person]


def test_background_work_gets_a_token_now_and_then_all_the_same() -> None:
    scheduler = Scheduler(slots=4, aging=0.5)
    person, background = ticket("interactive"), ticket("background")
    started(scheduler, person, background)
    served = 0
    for step in range(100):
        for one, rows in scheduler.rows(step * 0.1, capacity=8, prompt_budget=8):
            scheduler.charge(one, rows, step * 0.1)
            served += one is background
    assert 8 <= served <= 12


def test_a_flood_of_interactive_requests_does_not_starve_a_waiting_background_one() -> None:
    scheduler = Scheduler(slots=1, aging=0.5)
    background = ticket("background")
    scheduler.add(background, 0.0)
    for number in range(30):
        scheduler.add(ticket("interactive"), number * 0.1)
        chosen, _ = scheduler.admissible(number * 0.1, lambda _: True, lambda _: False)
        assert chosen is not None
        scheduler.start(chosen, number * 0.1)
        scheduler.remove(chosen)
        if chosen is background:
            return
    pytest.fail("the background request never ran")


def test_the_client_that_had_less_goes_first() -> None:
    scheduler = Scheduler(slots=1)
    greedy, modest = ticket(client="greedy"), ticket(client="modest")
    scheduler.add(greedy, 0.0)
    scheduler.add(modest, 0.1)
    scheduler.charge(greedy, 2 * QUANTUM, 0.0)
    assert scheduler.order([greedy, modest], 0.1) == [modest, greedy]


def test_a_client_that_comes_back_gets_no_credit_for_its_absence() -> None:
    scheduler = Scheduler(slots=1)
    busy = ticket(client="busy")
    scheduler.add(busy, 0.0)
    scheduler.charge(busy, 10 * QUANTUM, 0.0)
    late, again = ticket(client="late", prompt=50), ticket(client="busy", prompt=20)
    scheduler.add(late, 0.1)
    scheduler.add(again, 0.1)
    assert scheduler.order([late, again], 0.1) == [again, late]


def test_a_resident_prefix_goes_first_among_equals() -> None:
    scheduler = Scheduler(slots=1)
    cold, warm = ticket(prompt=100), ticket(prompt=120, resident=110)
    scheduler.add(cold, 0.0)
    scheduler.add(warm, 0.0)
    assert scheduler.order([cold, warm], 0.0) == [warm, cold]


def test_what_does_not_fit_is_not_overtaken_by_what_does() -> None:
    scheduler = Scheduler(slots=4)
    large, small = ticket(prompt=10), ticket(prompt=300)
    scheduler.add(large, 0.0)
    scheduler.add(small, 0.0)
    assert scheduler.admissible(0.0, lambda one: one is small, lambda _: False) == (None, None)


def test_lower_class_work_is_suspended_for_a_person() -> None:
    scheduler = Scheduler(slots=1)
    background, person = ticket("background"), ticket("interactive")
    started(scheduler, background)
    scheduler.add(person, 0.1)
    assert scheduler.admissible(0.1, lambda _: True, lambda _: False) == (None, background)


def test_work_of_the_same_class_is_not_suspended() -> None:
    scheduler = Scheduler(slots=1)
    first, second = ticket("normal"), ticket("normal")
    started(scheduler, first)
    scheduler.add(second, 0.1)
    assert scheduler.admissible(0.1, lambda _: True, lambda _: False) == (None, None)


def test_adapters_take_turns() -> None:
    scheduler = Scheduler(slots=4)
    plain, lora = ticket(), ticket()
    lora.adapter = "lora"
    started(scheduler, plain, lora)
    order: list[str] = []
    for step in range(6):
        for one, rows in scheduler.rows(step * 0.01, capacity=8, prompt_budget=8):
            scheduler.charge(one, rows, (step + 1) * 0.01)
            order.append(one.adapter)
    assert order in (["", "lora"] * 3, ["lora", ""] * 3)

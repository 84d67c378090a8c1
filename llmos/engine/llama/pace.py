"""How fast steps go: the prompt rate that chunks are cut by, and when fewer threads are faster than all.

The threads of a forward pass meet at a barrier hundreds of times per token and spin there. When another process takes
one of their cores, each barrier waits for a turn of the operating system's scheduler, and a step takes ten to twenty
times as long; one thread alone, which meets nobody, then is the fastest. So a step that is far slower than its like is
taken as a sign of a busy machine: the following run on one thread, and all are tried again after a while, ever more
rarely while it stays busy. Knows steps as numbers of rows and seconds only.
"""

from __future__ import annotations

_SUSPICIOUS = 3.0  # times the usual seconds of such a step
_LEAST_SECONDS = 0.02
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0
_FORGET = 1.002  # the usual time drifts up this much a step, so that a machine that became slower is believed
_LEARN = 0.3


class Pace:
    """Learns from each step; `threads` is what the next should use.

    Args:
        threads: All that the engine may use.
    """

    def __init__(self, threads: int) -> None:
        self._all = threads
        self.threads = threads
        self.prompt_rate = 200.0
        self._usual: dict[int, float] = {}
        self._pause = _FIRST_PAUSE
        self._until = 0.0
        self._slow = 0.0

    def plan(self, now: float) -> int:
        """Threads for the step that begins now."""
        if self.threads != self._all and now >= self._until:
            self.threads = self._all
        return self.threads

    def learn(self, rows: int, prompt_rows: int, seconds: float, now: float) -> None:
        """Take in a finished step.

        Args:
            rows: All its rows.
            prompt_rows: Those of prompts.
            seconds: What it took.
            now: When it ended.
        """
        if prompt_rows >= 32 and prompt_rows * 2 > rows:
            self.prompt_rate += _LEARN * (prompt_rows / seconds - self.prompt_rate)
        if self._all == 1:
            return
        kind = rows.bit_length()
        if self.threads != self._all:
            self._judge(kind, seconds)
            return
        usual = self._usual.get(kind, seconds)
        if seconds > max(usual * _SUSPICIOUS, _LEAST_SECONDS):
            self.threads, self._slow, self._until = 1, seconds, now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            return
        if kind in self._usual and now > self._until + self._pause:
            self._pause = _FIRST_PAUSE
        self._usual[kind] = min(usual * _FORGET, seconds)

    def _judge(self, kind: int, seconds: float) -> None:
        """One thread is no faster than all were: then the machine isn't busy, such steps simply take that long now."""
        if self._slow and seconds >= self._slow:
            self.threads = self._all
            self._usual[kind] = self._slow
        self._slow = 0.0

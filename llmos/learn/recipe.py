"""What microcode is trained on: makers of examples, and how often each is asked.

Sheet number n of a recipe is made from its seed and n alone, so that training goes on where it stopped. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from llmos.errors import BadArguments
from llmos.learn.data.example import Sheet, SheetMaker, Split


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train on.

    Attributes:
        makers: By name, in a fixed order.
        shares: How often each is asked, by name; of their sum.
    """

    name: str
    makers: Mapping[str, SheetMaker]
    shares: Mapping[str, float]

    def sheet(self, seed: int, number: int, split: Split = "train") -> tuple[str, Sheet]:
        """A sheet, and the name of its maker."""
        random = Random(f"{seed} {number} {split}")
        name = random.choices(list(self.makers), [self.shares[one] for one in self.makers])[0]
        return name, self.makers[name](random, split)

    def sheets(self, seed: int, split: Split, each: int) -> Iterator[tuple[str, Sheet]]:
        """So many sheets of each maker."""
        for name, maker in self.makers.items():
            for number in range(each):
                yield name, maker(Random(f"{seed} {name} {number} {split}"), split)


SHARES: Mapping[str, float] = {
    "choose": 30,
    "fill": 14,
    "episode": 12,
    "route": 12,
    "decide": 6,
    "squad": 16,
    "passage": 6,
    "verdict": 11,
    "browse": 8,
    "extract": 9,
    "talk": 4,
    "know": 2,
    "sure": 1,
    "fact": 1.5,
    "title": 0.7,
    "summary": 0.7,
    "program": 3,
    "prose": 3,
}


def kernel(squad: Path | None) -> Recipe:
    """The microcode that ships with llmos.

    Args:
        squad: Where the development file of SQuAD 2.0 is; without it, real prose is not read in training.

    Raises:
        StorageError: The file is missing, or is another.
    """
    from llmos.learn.data import (
        calls,
        conversations,
        episodes,
        facts,
        fields,
        pages,
        passages,
        programs,
        prose,
        routes,
        talk,
        verdicts,
    )
    from llmos.learn.data import squad as squads

    makers: dict[str, SheetMaker] = {
        "choose": calls.choose_sheet,
        "fill": calls.fill_sheet,
        "episode": episodes.episode_sheet,
        "route": routes.route_sheet,
        "decide": routes.decide_sheet,
        "passage": passages.passage_sheet,
        "verdict": verdicts.verdict_sheet,
        "browse": pages.browse_sheet,
        "extract": fields.extract_sheet,
        "talk": talk.talk_sheet,
        "know": facts.know_sheet,
        "sure": talk.sure_sheet,
        "fact": facts.fact_sheet,
        "title": conversations.title_sheet,
        "summary": conversations.summary_sheet,
        "program": programs.sheet,
        "prose": prose.prose_sheet,
    }
    if squad is not None:
        makers["squad"] = squads.squad_sheets(squad)
    return Recipe("kernel", makers, SHARES)


def recipe(name: str, *, squad: Path | None = None) -> Recipe:
    """A recipe by name.

    Raises:
        BadArguments: There is none of this name.
    """
    if name != "kernel":
        raise BadArguments(f"There is no recipe {name!r}.", hint="There is: kernel.")
    return kernel(squad)

"""The researcher answers with what stands in files, follows a name into a second lookup, and says what is missing."""

from __future__ import annotations

from llmos.agents import built_in
from llmos.agents.workers.passages import Library, passages_of
from llmos.agents.workers.researcher import researcher
from llmos.agents.workers.worker import Worker
from tests.agents.workers.conftest import Office

FILES = {
    "ships.md": "# Ships\n\nThe Curlew sails to Bergen under captain Liv Moen.\n"
    "The Heron sails to Cork under captain Aoife Burke.\n",
    "crew/list.md": "# Radio call signs\n\n- Liv Moen: LM-77\n- Aoife Burke: AB-12\n",
    "weather.txt": "It rained in Cork on Tuesday.\n",
}


def furnish(office: Office) -> None:
    for path, text in FILES.items():
        office.write(path, text)


async def test_a_name_in_the_first_sentence_leads_to_the_second(office: Office) -> None:
    furnish(office)
    report = await office.do(researcher, "What is the call sign of the captain who sails to Bergen?")
    assert report.outcome == "done", report.reasons
    assert [source.place for source in report.sources] == ["ships.md:3", "crew/list.md:3"]
    assert "LM-77" in report.value["answer"]
    assert report.value["path"][1]["via"] == "Liv Moen"


async def test_one_lookup_is_enough_where_one_sentence_has_it_all(office: Office) -> None:
    furnish(office)
    report = await office.do(researcher, "Where does the Heron sail to?")
    assert [source.place for source in report.sources] == ["ships.md:4"]


async def test_every_quote_stands_in_its_file(office: Office) -> None:
    furnish(office)
    report = await office.do(researcher, "What is the call sign of the captain who sails to Cork?")
    for source in report.sources:
        path, _, line = source.place.rpartition(":")
        assert source.quote in FILES[path].splitlines()[int(line) - 1]


async def test_what_is_not_there_is_said_and_not_made_up(office: Office) -> None:
    furnish(office)
    report = await office.do(researcher, "What did the harbour master of Lisbon write about the fire?")
    assert report.outcome == "failed"
    assert "Lisbon" in report.reasons[0]


async def test_an_answer_to_a_part_of_the_question_is_not_called_done(office: Office) -> None:
    furnish(office)
    report = await office.do(researcher, "Which passengers does captain Liv Moen carry to Bergen?")
    assert report.outcome in ("unverified", "failed")
    assert "passengers" in " ".join(report.reasons)


async def test_an_empty_folder_is_told(office: Office) -> None:
    report = await office.do(researcher, "Who sails to Bergen?")
    assert report.reasons == ("There is no text here to look in.",)


def test_rare_words_count_more() -> None:
    library = Library(passages_of("The boat is red.\nThe boat is old.\nThe boat has oars.\n", "a.txt"))
    assert library.weight("oar") > library.weight("boat")
    assert library.search(["boat", "oar"])[0].place == "a.txt:3"


def test_each_worker_is_known_by_its_name_and_says_what_it_is_for() -> None:
    for name in ("analyst", "coder", "operator", "researcher"):
        worker = built_in()[name]
        assert isinstance(worker, Worker)
        assert worker.name == name
        assert worker.description
        assert len(worker.examples) >= 2

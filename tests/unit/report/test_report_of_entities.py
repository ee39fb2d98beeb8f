"""What the report draws of the entities of each type."""

import re

from kubetune_trainer.report import render_card, render_report
from kubetune_trainer.report.by_type import MOST_LINES, lines_by_type
from kubetune_trainer.tasks.entities import EntityDetails
from support.run_records import tagged


def details_of(*types: str) -> EntityDetails:
    details = tagged(types).evaluations[-1].details
    assert isinstance(details, EntityDetails)
    return details


def plot(page: str) -> str:
    return page[page.index("Precision, recall and F1 by type") : page.index("<b>By type</b>")]


def test_each_type_has_a_line_with_its_marks_the_lowest_f1_first() -> None:
    drawn = plot(render_report(tagged()))
    assert re.findall(r'<th scope="row"><bdi>(\w+)</bdi>', drawn) == ["MISC", "LOC", "ORG", "PER"]
    lowest = lines_by_type(details_of("PER", "ORG", "LOC", "MISC"))[0]
    assert f'aria-label="precision {lowest.precision:.3f}, recall {lowest.recall:.3f}, F1 {lowest.f1:.3f}"' in drawn
    for value, kind in ((lowest.precision, "s1"), (lowest.recall, "s2"), (lowest.f1, "s3")):
        assert f'<svg x="{100 * value:.1f}%" y="50%" class="{kind}">' in drawn


def test_a_type_that_is_neither_there_nor_found_has_no_line() -> None:
    details = details_of("PER", "ORG")
    without = EntityDetails(details.per_type, (0, 0), details.most_frequent)
    assert len(lines_by_type(without)) == 2
    (per, org) = details.per_type
    empty = EntityDetails((per, type(org)("ORG", 0.0, 0.0, 0.0, 0)), (9, 0), details.most_frequent)
    assert [line.label for line in lines_by_type(empty)] == ["PER"]


def test_of_many_types_those_with_the_most_entities_are_drawn() -> None:
    types = [f"T{number}" for number in range(MOST_LINES + 5)]
    assert {line.label for line in lines_by_type(details_of(*types))} == set(types[:MOST_LINES])


def test_the_name_of_a_type_is_no_markup_and_the_card_has_the_table_alone() -> None:
    record = tagged(("<b>PER</b>", "LOC"))
    assert "&lt;b&gt;PER&lt;/b&gt;" in plot(render_report(record))
    assert "<svg" not in render_card(record, "s3://models/names/model")

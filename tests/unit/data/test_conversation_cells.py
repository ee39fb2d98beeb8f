"""T12: what a cell with a conversation may hold, in JSON Lines, Parquet and CSV, and what is said of any other."""

import io
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.data.conversation import conversation_of
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from support.chat_templates import CHATML
from support.conversations import COLUMN, WHERE
from support.data_files import conversations, csv_text, jsonl_text, local_file
from support.tiny_tokenizers import gpt_like

ASKED = {"role": "user", "content": "what"}
SAID = {"role": "assistant", "content": "good"}
AT = "s3://data/a.jsonl, line 3: the column 'turns' (spec.dataset.columns.messages)"


def read(value: object) -> Any:
    text = conversation_of(value, COLUMN, WHERE)
    return None if text is None else json.loads(text)


def calling(*calls: object) -> list[Any]:
    return [ASKED, {"role": "assistant", "tool_calls": list(calls)}]


@pytest.mark.parametrize("value", [None, [], "", " ", "[]"])
def test_a_cell_without_a_message_is_a_missing_value(value: object) -> None:
    assert read(value) is None


def test_the_json_of_a_list_is_the_list() -> None:
    assert read(json.dumps([ASKED, SAID])) == read([ASKED, SAID]) == [ASKED, SAID]


def test_only_answers_are_judged_by_whether_they_are_learned() -> None:
    untrained = dict.fromkeys(("train", "training", "loss"), False)
    assert read([{**ASKED, **untrained, "weight": 0}, {**SAID, "train": True, "weight": 1}]) == [ASKED, SAID]


def test_the_form_of_sharegpt_is_taken() -> None:
    turns = [("system", "film"), ("human", "what"), ("gpt", "good")]
    messages = [{"from": role, "value": text} for role, text in turns]
    assert read(messages) == [{"role": "system", "content": "film"}, ASKED, SAID]


def test_calls_have_one_form_and_nulls_of_parquet_are_no_arguments() -> None:
    wanted = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    for call in (
        {"function": {"name": "f", "arguments": {"a": 1, "b": None}}, "id": None},
        {"name": "f", "arguments": '{"a": 1}'},
    ):
        assert read(calling(call))[1] == {"role": "assistant", "content": "", "tool_calls": [wanted]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(3, " holds an integer; a conversation is a list of messages,", id="a number"),
        pytest.param("hello", " holds a text that is not JSON; write the list of messages itself,", id="a text"),
        pytest.param(
            "[{'role': 'user'}]", " holds a text that is not JSON; write the list", id="what Python's str writes"
        ),
        pytest.param(
            {"role": "user", "content": "x"}, " holds an object; a conversation is a list of messages,", id="one"
        ),
        pytest.param(
            [ASKED, "good"],
            ", message 2, is a value of type str; a message is an object with a role and a content",
            id="a text for a message",
        ),
        pytest.param(
            [ASKED, {"content": "x"}],
            ", message 2, has no role; write one of system, user, assistant and tool",
            id="no role",
        ),
        pytest.param(
            [{"role": "human", "content": "x"}, SAID],
            ", message 1, has the role 'human'; write one of system, user, assistant and tool",
            id="another role",
        ),
        pytest.param([ASKED, {"role": "assistant"}], ", message 2, has no content; write what is said", id="nothing"),
        pytest.param(
            [ASKED, {"role": "assistant", "content": 3}], ", message 2, has an integer as its content; write a string",
            id="a number for a text",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "image"}]}, SAID],
            ", message 1, has a list as its content; write a string (parts of pictures and sounds are not trained on)",
            id="parts",
        ),
        pytest.param(
            [ASKED], " holds no message of the assistant after one of the user, so there is nothing to learn from it;"
            " remove the row, or correct the roles", id="no answer",
        ),
        pytest.param([SAID, ASKED], " holds no message of the assistant after one of the user,", id="a greeting alone"),
        pytest.param(
            [ASKED, {**SAID, "weight": 0}], ", message 2, has the weight 0, which is not supported: every answer is",
            id="a weight",
        ),
        *(
            pytest.param(
                [ASKED, {**SAID, key: False}],
                f", message 2, has the {key} false, which is not supported: every answer is learned; remove the turn,",
                id=f"{key}: false",
            )
            for key in ("train", "training", "loss")
        ),
        pytest.param(calling(3), ", message 2, tool call 1, is an integer; write", id="a number for a call"),
        pytest.param(
            calling({"name": "<|im_end|>"}), ", message 2, tool call 1, has no function name of letters, digits",
            id="a name that spells a control token",
        ),
        pytest.param(
            calling({"name": "f", "arguments": "{"}),
            ", message 2, tool call 1, has the arguments '{', which are not JSON; write an object, or its JSON",
            id="arguments that are no JSON",
        ),
        *(
            pytest.param(
                calling({"name": "f", "arguments": {"a": [{"b": value}]}}),
                f", message 2, tool call 1, has {kind} in its arguments, which JSON cannot say; write it as a string",
                id=f"{kind} in arguments",
            )
            for value, kind in (
                (datetime(2024, 7, 26), "a value of type datetime"),
                (date(2024, 7, 26), "a value of type date"),
                (Decimal("1.5"), "a value of type Decimal"),
                (b"x", "bytes"),
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused_with_its_place_and_what_to_write(value: object, said: str) -> None:
    with pytest.raises(RunError) as raised:
        read(value)
    assert raised.value.reason == Reason.INVALID_DATA
    assert raised.value.message.startswith(AT + said)


def prepared(folder: Path, name: str, content: str | bytes, **dataset: Any) -> PreparedData:
    spec = conversations(**dataset)
    return prepare(task_of(spec), spec, {"train": [local_file(folder, name, content)]}, gpt_like(CHATML), 128)


def rows(count: int = 30) -> list[list[dict[str, Any]]]:
    return [
        [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"answer {number}"}]
        for number in range(count)
    ]


def test_every_format_gives_the_same_tokens(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"turns": rows()}), buffer)
    read_from = {
        "a.jsonl": jsonl_text([{"turns": messages} for messages in rows()]),
        "a.parquet": buffer.getvalue(),
        "a.csv": csv_text([(json.dumps(messages),) for messages in rows()], ["turns"]),
    }
    splits = [prepared(tmp_path, name, content).splits["train"] for name, content in read_from.items()]
    for split in splits[1:]:
        assert split.tokens.tolist() == splits[0].tokens.tolist()
        assert split.targets.per_row(split).tolist() == splits[0].targets.per_row(splits[0]).tolist()


def test_conversations_are_cleaned_as_texts_are(tmp_path: Path) -> None:
    blank = [{"role": "user", "content": " "}, SAID]
    combining = [{"role": "user", "content": "u\u0308\x07"}, {"role": "assistant", "content": "a\r\nb"}]
    short = [ASKED, {"role": "assistant", "content": "no"}]
    several = [*rows(), rows()[3], [], blank, combining, short]
    content = jsonl_text([{"turns": messages} for messages in several])
    data = prepared(tmp_path, "a.jsonl", content, cleaning={"minCharacters": 3}, validationFraction=0, testFraction=0)
    counts = {step.name: step.rows for step in data.report.cleaning if step.rows}
    assert counts == {"unicodeNormalization": 1, "dropEmpty": 2, "minCharacters": 1, "dropDuplicates": 1}
    text = gpt_like(CHATML).decode(data.splits["train"].tokens)
    assert "ü<|im_end|>" in text
    assert "a\nb<|im_end|>" in text


def test_an_empty_turn_is_an_error_where_the_job_says_so(tmp_path: Path) -> None:
    content = jsonl_text([{"turns": [ASKED, {"role": "assistant", "content": ""}]}, *({"turns": m} for m in rows())])
    with pytest.raises(RunError, match="line 1: the column 'turns' is empty; fill it, or set"):
        prepared(tmp_path, "a.jsonl", content, cleaning={"dropEmpty": False})


def test_each_answer_of_a_conversation_is_marked_in_what_the_run_read(tmp_path: Path) -> None:
    longer = [[*messages, {"role": "user", "content": "more"}, {"role": "assistant", "content": "yes"}]
              for messages in rows()]  # fmt: skip
    data = prepared(tmp_path, "a.jsonl", jsonl_text([{"turns": messages} for messages in longer]))
    asked, answered, between, last = data.report.samples[0].pieces
    assert [piece.counted for piece in (asked, answered, between, last)] == [False, True, False, True]
    assert answered.text.startswith("answer ")
    assert answered.text.endswith("<|im_end|>")
    assert between.text == "\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"
    assert last.text == "yes<|im_end|>\n"


def test_no_question_is_in_two_splits(tmp_path: Path) -> None:
    several = [
        [{"role": "user", "content": f"question {number % 20}"}, {"role": "assistant", "content": f"answer {number}"}]
        for number in range(100)
    ]
    data = prepared(tmp_path, "a.jsonl", jsonl_text([{"turns": messages} for messages in several]))
    tokenizer = gpt_like(CHATML)
    questions = [
        {tokenizer.decode(split.tokens[start:end]).split("<|im_end|>")[0] for start, end in
         zip(split.offsets, split.offsets[1:], strict=False)}
        for split in data.splits.values()
    ]  # fmt: skip
    assert sum(map(len, questions)) == len(set().union(*questions)) == 20

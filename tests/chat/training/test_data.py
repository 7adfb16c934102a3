"""Dialogues are read from all formats, and errors name the file and the line."""

import json
from pathlib import Path

import pytest

from chat.training.blocks import IGNORED_LABEL, build_blocks
from chat.training.config import CONFIGS_FOLDER, read_config
from chat.training.data import Dialogue, read_dialogues, split_dialogues
from chat.training.dialogue_format import DialogueFormat
from engine.api import Message
from engine.errors import ConfigurationError
from tests.chat.test_rendering import CHATML, byte_tokenizer

CHATML_FORMAT = DialogueFormat("chatml", byte_tokenizer(CHATML))

TREE = {
    "prompt": {
        "text": "Q",
        "role": "prompter",
        "replies": [
            {
                "text": "A1",
                "role": "assistant",
                "replies": [
                    {
                        "text": "Q2",
                        "role": "prompter",
                        "replies": [{"text": "A3", "role": "assistant", "replies": []}],
                    },
                    {"text": "Q3", "role": "prompter", "replies": []},
                ],
            },
            {"text": "A2", "role": "assistant"},
        ],
    }
}


def write_lines(folder: Path, *rows: object) -> Path:
    file = folder / "talk.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return file


def contents(dialogue: Dialogue) -> list[str]:
    return [message.content for message in dialogue]


def test_dialogues_are_read_from_all_three_formats(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path,
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ]
        },
        {"prompt": "Q", "completion": "A"},
        TREE,
    )
    assert [contents(dialogue) for dialogue in read_dialogues(file)] == [
        ["S", "Q", "A"],
        ["Q", "A"],
        ["Q", "A1", "Q2", "A3"],
        ["Q", "A1"],
        ["Q", "A2"],
    ]


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("{", "line 2: "),
        ("[]", "not a JSON object"),
        ({"text": "x"}, "neither `messages`"),
        ({"messages": "x"}, "not a list"),
        ({"messages": [{"role": "user"}]}, "no text"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "role 'bot'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "not the user's"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "same role"),
        ({"prompt": "x", "completion": " "}, "says nothing"),
        ({"prompt": {"text": "x", "role": "robot"}}, "role 'robot'"),
    ],
)
def test_bad_data_is_reported_with_file_and_line(row: object, match: str, tmp_path: Path) -> None:
    file = write_lines(tmp_path, {"prompt": "Q", "completion": "A"}, row)
    with pytest.raises(ConfigurationError, match=match) as error:
        read_dialogues(file)
    assert f"{file}, line 2" in str(error.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_dialogues(tmp_path / "none.jsonl")


def pair(question: str, answer: str) -> Dialogue:
    return (Message("user", question), Message("assistant", answer))


def test_answers_to_one_question_are_held_out_together() -> None:
    dialogues = [pair(f"Q{number // 3}", f"A{number}") for number in range(60)]
    parts = split_dialogues(dialogues, 0)
    training, held_out = (
        {dialogue[0].content for dialogue in part} for part in (parts.training, parts.held_out)
    )
    assert training.isdisjoint(held_out)
    assert len(parts.held_out) == 6
    assert sorted(parts.training + parts.held_out, key=str) == sorted(dialogues, key=str)
    with pytest.raises(ConfigurationError, match="At least 4"):
        split_dialogues(dialogues[:3], 0)
    with pytest.raises(ConfigurationError, match="same question"):
        split_dialogues([pair("Q", str(number)) for number in range(5)], 0)


def test_blocks_are_joined_and_cut_and_only_the_assistant_has_labels() -> None:
    tokenizer = CHATML_FORMAT.tokenizer
    blocks = build_blocks([pair("Hi", "Hello"), pair("Bye", "See you")], CHATML_FORMAT, 24)
    ids = [id_ for block in blocks for id_ in block.ids]
    text = tokenizer.decode(ids, skip_special=False)
    assert text.startswith(
        "<|system|>\n<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
    )
    assert all(len(block.ids) == len(block.labels) == 24 for block in blocks)
    learned = [label for block in blocks for label in block.labels if label != IGNORED_LABEL]
    text = tokenizer.decode(learned, skip_special=False)
    assert text.startswith("\nHello<|end|>\nSee you"[: len(text)])


def test_the_system_message_is_added_to_dialogues_without_one() -> None:
    tokenizer = CHATML_FORMAT.tokenizer
    own = (Message("system", "Own."), *pair("Q", "A"))
    blocks = build_blocks([pair("Q", "A"), own], CHATML_FORMAT, 1000, "Be kind.")
    text = tokenizer.decode(blocks[0].ids, skip_special=False)
    assert text.count("Be kind.") == 1
    assert text.count("Own.") == 1


def published_labels(joined: list[list[int]], user: int, assistant: int) -> list[object]:
    """Mask the labels as bigcode-project/starcoder's chat/train.py does after joining.

    Its function expects the ids of one sequence, but gets the list of all sequences.
    """
    labels: list[object] = list(joined)
    i = 0
    while i < len(labels):
        if labels[i] == user:
            while i < len(labels) and labels[i] != assistant:
                labels[i] = IGNORED_LABEL
                i += 1
        else:
            i += 1
    return labels


def test_the_published_script_masks_nothing_and_ours_does() -> None:
    tokenizer = CHATML_FORMAT.tokenizer
    blocks = build_blocks([pair("Question", "Answer")] * 8, CHATML_FORMAT, 32)
    user, assistant = (tokenizer.special_id(f"<|{role}|>") for role in ("user", "assistant"))
    assert user is not None
    assert assistant is not None
    published = published_labels([block.ids for block in blocks], user, assistant)
    assert published == [block.ids for block in blocks]  # no label is ignored
    for block in blocks:
        question = [id_ for id_, label in zip(block.ids, block.labels, strict=True) if label < 0]
        assert "Answer" not in tokenizer.decode(question)
        learned = [label for label in block.labels if label != IGNORED_LABEL]
        assert "Question" not in tokenizer.decode(learned)


@pytest.mark.parametrize("name", ["starchat", "lora", "small"])
def test_the_shipped_configurations_can_be_read(name: str) -> None:
    config = read_config(name)
    assert (config.method == "full") == (name == "starchat")
    if config.deepspeed_file:
        zero = json.loads(Path(config.deepspeed_file).read_text(encoding="utf-8"))
        assert zero["zero_optimization"]["stage"] == 3
        assert "scheduler" not in zero  # it would replace ours


def test_the_published_batch_is_256() -> None:
    config = read_config("starchat")
    assert config.batch_per_device * config.accumulation * 8 == 256


def test_a_bad_configuration_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="lora, small, starchat"):
        read_config("none")
    file = tmp_path / "own.toml"
    good = (CONFIGS_FOLDER / "small.toml").read_text(encoding="utf-8")
    for text, match in (
        ("a =", "not valid TOML"),
        (f"{good}\ncolour = 1\n", "colour"),
        ("epochs = 1\n", "method"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=match):
            read_config(str(file))

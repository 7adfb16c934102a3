"""Two models are compared fairly, and pairs with unreadable scores are left out."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from chat.judging import AnswerPair, compare, judge, judge_prompt, read_scores, wilson_interval
from lsp_server.cli.app import app


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ("7 5\nBecause.", (7, 5)),
        ("\n 8 8 \n", (8, 8)),
        ("**6, 3**", (6, 3)),
        ("4/2", (4, 2)),
        ("", None),
        ("9 5", None),
        ("0 5", None),
        ("I give 7 and 5.", None),
        ("7\n5", None),
        ("Answer 1: 7 5", None),
        ("75", None),
    ],
)
def test_scores_are_read_only_from_the_first_line(
    answer: str, scores: tuple[int, int] | None
) -> None:
    assert read_scores(answer) == scores


async def test_a_judge_that_favours_the_first_answer_gives_equal_scores() -> None:
    async def biased(_: str) -> str:
        return "8 2"

    judged = await judge(AnswerPair("Q", "one", "two"), biased)
    assert (judged.a, judged.b) == (5, 5)


async def test_the_better_answer_wins_in_both_orders() -> None:
    async def fair(text: str) -> str:
        return "7 3" if text.index("good") < text.index("bad") else "3 7"

    judged = [await judge(AnswerPair("Q", "good", "bad"), fair) for _ in range(10)]
    summary = compare(judged)
    assert summary is not None
    assert (summary.wins, summary.win_rate, summary.mean_a, summary.mean_b) == (10, 1.0, 7, 3)
    assert 0.65 < summary.low < 0.75
    assert summary.high == 1.0


async def test_unreadable_pairs_are_counted_and_left_out() -> None:
    async def silent(text: str) -> str:
        return "7 3" if "easy" in text else "no idea"

    judged = [await judge(AnswerPair(name, "a", "b"), silent) for name in ("easy", "hard")]
    summary = compare(judged)
    assert summary is not None
    assert (summary.num_judged, summary.num_unreadable) == (1, 1)
    assert compare(judged[1:]) is None


def test_the_two_prompts_differ_only_in_the_order_of_the_answers() -> None:
    pair = AnswerPair("Q {x}", "ONE", "TWO")
    first, second = judge_prompt(pair, b_first=False), judge_prompt(pair, b_first=True)
    assert first.replace("ONE", "*").replace("TWO", "ONE").replace("*", "TWO") == second


def test_the_interval_is_that_of_wilson() -> None:
    low, high = wilson_interval(0.5, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert wilson_interval(0.0, 10)[0] == 0.0


class _Judge(BaseHTTPRequestHandler):
    words = "6 4\nfine"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert request["temperature"] == 0
        body = json.dumps({"choices": [{"message": {"content": self.words}}]}).encode()
        self.send_response(200 if self.headers.get("Authorization") == "Bearer key" else 401)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Judge)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def answers(folder: Path, name: str, *words: str) -> str:
    rows = [{"prompt": f"Q{index}", "answer": word} for index, word in enumerate(words)]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def run(folder: Path, url: str, b: str | None = None) -> tuple[int, str]:
    prompts = folder / "prompts.txt"
    prompts.write_text('Q0\n{"prompt": "Q1"}\n')
    a = answers(folder, "a", "x", "y")
    arguments = [
        "judge",
        str(prompts),
        "--a",
        a,
        "--b",
        b or answers(folder, "b", "u", "v"),
        "--judge-url",
        url,
        "--judge-model",
        "m",
        "--out",
        str(folder / "out.jsonl"),
    ]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, " ".join(result.output.split())


def test_the_command_prints_and_stores_the_scores(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_JUDGE_TOKEN", "key")
    code, output = run(tmp_path, url)
    assert code == 0, output
    assert "2 prompts, each judged in both orders; 0 unreadable" in output
    assert "5.00" in output  # the judge favours the first answer, so both are equal
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["pair"]["a"] for row in rows] == ["x", "y"]
    assert rows[0]["words"] == ["6 4\nfine"] * 2


def test_the_command_prints_no_score_if_none_is_readable(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_JUDGE_TOKEN", "key")
    monkeypatch.setattr(_Judge, "words", "Both are nice.")
    code, output = run(tmp_path, url)
    assert code == 1
    assert "no readable scores" in output
    assert "win rate" not in output


def test_the_command_reports_errors(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STARCODER_LSP_JUDGE_TOKEN", raising=False)
    assert "HTTP 401" in run(tmp_path, url)[1]
    assert "cannot be reached" in run(tmp_path, "http://127.0.0.1:9/v1")[1]
    assert "has no answer to 'Q1'" in run(tmp_path, url, answers(tmp_path, "short", "u"))[1]

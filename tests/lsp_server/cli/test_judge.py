"""`judge` with a real server as the judge, and what it refuses before the models start."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from lsp_server.cli.app import app

ANSWER = {"choices": [{"message": {"content": "7 3\nThe first one works."}}]}


class _Handler(BaseHTTPRequestHandler):
    reply: object = ANSWER
    status = 200
    token = ""

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._send(404, {"error": "there is no such page"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.status, self.reply)

    def _send(self, status: int, body: object) -> None:
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            status, body = 401, {"error": {"message": "Wrong token."}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def judge() -> Iterator[tuple[str, type[_Handler]]]:
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "prompts.txt").write_text("Why?\nHow?\n")
    for name in ("a", "b"):
        rows = [json.dumps({"prompt": text, "answer": name}) for text in ("Why?", "How?")]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    a, b = (str(tmp_path / f"{name}.jsonl") for name in ("a", "b"))
    return [str(tmp_path / "prompts.txt"), "--a", a, "--b", b, "--judge-model", "m"]


def invoke(*arguments: str, columns: int = 200) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["judge", *arguments], env={"COLUMNS": str(columns)})
    return result.exit_code, result.output


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_two_files_of_answers_are_compared(
    judge: tuple[str, type[_Handler]], files: list[str], tmp_path: Path, columns: int
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = (*files, "--judge-url", judge[0], "--out", str(out))
    status, text = invoke(*arguments, columns=columns)
    assert status == 0, text
    assert "2 prompts, each judged in both orders" in text
    assert files[2] in text
    assert "…" not in text
    assert len(out.read_text().splitlines()) == 2


def test_unreadable_scores_name_a_file_only_if_there_is_one(
    judge: tuple[str, type[_Handler]], files: list[str], tmp_path: Path
) -> None:
    url, handler = judge
    handler.reply = {"choices": [{"message": {"content": "Both are nice."}}]}
    status, text = invoke(*files, "--judge-url", url)
    assert status == 1
    assert "Give --out FILE to see its texts." in text
    out = tmp_path / "out.jsonl"
    status, text = invoke(*files, "--judge-url", url, "--out", str(out))
    assert (status, f"{out} has its texts." in text) == (1, True)
    assert "Both are nice." in out.read_text()


def test_the_token_is_read_from_a_file_or_the_variable(
    judge: tuple[str, type[_Handler]],
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, handler = judge
    handler.token = "secret"
    arguments = (*files, "--judge-url", url)
    status, text = invoke(*arguments)
    assert status == 1
    assert "Wrong token. Set STARCODER_LSP_JUDGE_TOKEN or --judge-token-file." in text
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o644)
    assert "chmod 600" in invoke(*arguments, "--judge-token-file", str(token))[1]
    token.chmod(0o600)
    assert invoke(*arguments, "--judge-token-file", str(token))[0] == 0
    monkeypatch.setenv("STARCODER_LSP_JUDGE_TOKEN", "secret")
    assert invoke(*arguments)[0] == 0
    monkeypatch.setenv("STARCODER_LSP_JUDGE_TOKEN", "two words")
    assert "white space" in invoke(*arguments)[1]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000", "is not a URL"),
        ("ftp://x/v1", "is not a URL"),
        ("http://", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://127.0.0.1:9/v1", "The judge at http://127.0.0.1:9 cannot be reached."),
    ],
)
def test_a_judge_that_cannot_be_used_is_reported_before_the_models_start(
    url: str, words: str, files: list[str]
) -> None:
    files[2] = files[4] = "/no/model"
    status, text = invoke(*files, "--judge-url", url)
    assert (status, words in text) == (1, True), text
    assert "/no/model" not in text


@pytest.mark.parametrize(
    ("status", "reply", "words"),
    [
        (500, {"error": {"message": "out of memory"}}, "(HTTP 500): out of memory"),
        (500, {"error": "overloaded"}, "(HTTP 500): overloaded"),
        (404, {"message": "no model m"}, "(HTTP 404): no model m"),
        (422, {"detail": [{"loc": ["body"], "msg": "x"}]}, "refused the request (HTTP 422)."),
        (422, [1], "refused the request (HTTP 422)."),
        (200, {"choices": []}, "does not answer in the format of OpenAI's API"),
        (200, [], "does not answer in the format of OpenAI's API"),
        (200, {"choices": [{"message": None}]}, "does not answer in the format of OpenAI's API"),
    ],
)
def test_errors_of_the_judge_are_shown_without_json(
    judge: tuple[str, type[_Handler]], files: list[str], status: int, reply: object, words: str
) -> None:
    url, handler = judge
    handler.status, handler.reply = status, reply
    code, text = invoke(*files, "--judge-url", url)
    assert (code, words in text) == (1, True), text
    assert not re.search(r"[{}]|Error", text)


def test_a_missing_file_of_answers_is_reported_first(files: list[str], tmp_path: Path) -> None:
    files[4] = str(tmp_path / "none.jsonl")
    status, text = invoke(*files, "--judge-url", "http://127.0.0.1:9")
    assert status == 1
    assert f"{files[4]} cannot be read: no such file or directory." in text
    files[4] = files[2]
    (tmp_path / "prompts.txt").write_text("Another?\n")
    assert "has no answer to 'Another?'" in invoke(*files, "--judge-url", "http://127.0.0.1:9")[1]

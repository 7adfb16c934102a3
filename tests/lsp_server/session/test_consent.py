"""Consent to run generated code: asked once, remembered privately, and a no unless it is a yes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.session.consent import ALWAYS, NEVER, RUN, Consent
from lsp_server.session.consent_file import ConsentFile
from lsp_server.settings import Settings
from tests.e2e.client import ROOT, Editor, scripted, start

FORGET = types.ExecuteCommandParams("starcoder.forgetConsent")


class User:
    """Answers the questions of a server."""

    def __init__(self, editor: Editor, answer: str | None) -> None:
        self.questions: list[types.ShowMessageRequestParams] = []
        self.answer = answer
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._editor = editor

        async def choose(params: types.ShowMessageRequestParams) -> types.MessageActionItem | None:
            self.questions.append(params)
            await self.may_answer.wait()
            return None if self.answer is None else types.MessageActionItem(self.answer)

        editor.client.feature(types.WINDOW_SHOW_MESSAGE_REQUEST)(choose)

    async def wait_for_question(self) -> None:
        async with asyncio.timeout(10):
            while not self.questions:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def allows(self, folder: Path | None, what: str = "3 tests of add") -> bool:
        params = {"folder": None if folder is None else str(folder), "what": what}
        return bool(await asyncio.wait_for(self._editor.request("test/mayRun", params), 20))


@asynccontextmanager
async def user(
    file: Path, answer: str | None, settings: Any = None, folders: Sequence[Path] = ()
) -> AsyncIterator[tuple[User, Editor]]:
    """Start a server whose remembered answers are in `file`, with a user."""
    workspace = [types.WorkspaceFolder(each.as_uri(), each.name) for each in folders]
    environment = {"STARCODER_LSP_CONSENT": str(file)}
    async with start(
        scripted("x"), settings=settings, environment=environment, folders=workspace
    ) as editor:
        yield User(editor, answer), editor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "consent.json"


@pytest.mark.parametrize(
    ("answer", "is_allowed", "stored"),
    [(ALWAYS, True, "always"), (NEVER, False, "never")],
)
async def test_an_answer_for_the_workspace_is_remembered(
    answer: str, is_allowed: bool, stored: str, folder: Path, file: Path
) -> None:
    async with user(file, answer) as (person, _):
        assert await person.allows(folder) is is_allowed
        assert await person.allows(folder, "another") is is_allowed
        (question,) = person.questions
        assert question.message.startswith("StarCoder: run 3 tests of add? ")
        assert "in a sandbox without network, which cannot change your files" in question.message
        assert question.message.endswith(f"Folder: {folder}")
        assert [each.title for each in question.actions or ()] == [RUN, ALWAYS, NEVER]
    assert json.loads(file.read_text()) == {str(folder): stored}
    assert file.stat().st_mode & 0o777 == 0o600
    async with user(file, None) as (person, _):
        assert await person.allows(folder) is is_allowed
        assert person.questions == []


async def test_run_counts_for_this_session_and_folder(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    async with user(file, RUN) as (person, _):
        assert await person.allows(folder)
        assert await person.allows(folder)
        assert len(person.questions) == 1
        assert await person.allows(tmp_path)
        assert await person.allows(None)
        assert await person.allows(None)
        assert len(person.questions) == 3
        assert [each.title for each in person.questions[-1].actions or ()] == [RUN]
    assert not file.exists()
    async with user(file, None) as (person, _):
        assert not await person.allows(folder)
        assert len(person.questions) == 1


async def test_a_closed_question_is_a_no_and_asked_again(folder: Path, file: Path) -> None:
    async with user(file, None) as (person, _):
        assert not await person.allows(folder)
        person.answer = "Something else"
        assert not await person.allows(folder)
        person.answer = RUN
        assert await person.allows(folder)
        assert len(person.questions) == 3


async def test_a_client_that_cannot_ask_means_no(folder: Path, file: Path) -> None:
    environment = {"STARCODER_LSP_CONSENT": str(file)}
    async with start(scripted("x"), environment=environment) as editor:
        # pygls answers a request without a handler with the error MethodNotFound.
        params = {"folder": str(folder), "what": "a test"}
        assert await editor.request("test/mayRun", params) is False


@pytest.mark.parametrize(("value", "is_allowed"), [("always", True), ("never", False)])
async def test_the_setting_decides_without_a_question(
    value: str, is_allowed: bool, folder: Path, file: Path
) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({str(folder): "never" if is_allowed else "always"}))
    async with user(file, RUN, {"runTests": value}) as (person, _):
        assert await person.allows(folder) is is_allowed
        assert await person.allows(None) is is_allowed
        assert person.questions == []


async def test_a_setting_that_changes_while_the_question_is_open_counts(
    folder: Path, file: Path
) -> None:
    async with user(file, RUN) as (person, editor):
        person.may_answer.clear()
        asking = asyncio.create_task(person.allows(folder))
        await person.wait_for_question()
        editor.client.workspace_did_change_configuration(
            types.DidChangeConfigurationParams({"starcoder": {"runTests": "never"}})
        )
        await editor.request("test/requests")  # the change has arrived
        await asyncio.sleep(0.5)  # the server asks the client for its settings first
        person.may_answer.set()
        assert not await asking


async def test_requests_at_the_same_time_ask_once(folder: Path, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    async with user(file, RUN) as (person, _):
        person.may_answer.clear()
        asking = [asyncio.create_task(person.allows(each)) for each in (folder, link, folder)]
        await asyncio.sleep(0.3)
        person.may_answer.set()
        assert await asyncio.gather(*asking) == [True, True, True]
        assert len(person.questions) == 1


async def test_an_answer_does_not_count_for_a_link_that_replaces_the_folder(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    async with user(file, ALWAYS) as (person, _):
        inner = folder / "inner"
        inner.mkdir()
        assert await person.allows(inner)
        hostile = tmp_path / "hostile"
        (hostile / "inner").mkdir(parents=True)
        folder.rename(tmp_path / "moved")
        folder.symlink_to(hostile)
        person.answer = None
        assert not await person.allows(inner)
        assert len(person.questions) == 2
        assert person.questions[1].message.endswith(f"Folder: {hostile / 'inner'}")
        assert not await person.allows(tmp_path / "missing")
        assert len(person.questions) == 2


async def test_the_names_in_a_question_are_one_plain_line(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a\n[Run](command:x) \N{RIGHT-TO-LEFT OVERRIDE}b"
    folder.mkdir()
    async with user(file, None) as (person, _):
        await person.allows(folder, "tests of f](command:y)\n" + "z" * 1000)
        (question,) = person.questions
    assert question.message.isascii() is False
    assert "\n" not in question.message
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in question.message
    assert "](" not in question.message
    assert question.message.endswith("/a [Run]\N{WORD JOINER}(command:x) b")
    assert len(question.message) < 1000


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"always"', b"\xff", b"[" * 100_000, b'{"FOLDER": true}'],
    ids=["empty", "cut off", "list", "text", "no UTF-8", "deep", "no answer"],
)
def test_a_damaged_file_has_no_answers_and_is_replaced(
    content: bytes, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "consent.json"
    path.write_bytes(content.replace(b"FOLDER", str(folder).encode()))
    file = ConsentFile(path)
    assert file.answer(str(folder)) is None
    file.remember(str(folder), "always")
    assert file.answer(str(folder)) == "always"


def test_a_file_that_others_can_write_or_choose_is_not_believed(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "consent.json"
    path.write_text(json.dumps({str(folder): "always"}))
    assert ConsentFile(path).answer(str(folder)) == "always"
    path.chmod(0o666)
    assert ConsentFile(path).answer(str(folder)) is None
    path.chmod(0o600)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert ConsentFile(link).answer(str(folder)) is None


def test_servers_that_write_at_the_same_time_lose_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    code = (
        "import sys; from pathlib import Path;"
        "from lsp_server.session.consent_file import ConsentFile;"
        "file = ConsentFile(Path(sys.argv[1]));"
        "[file.remember(f'/{sys.argv[2]}/{n}', 'always') for n in range(50)]"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(index)], cwd=ROOT)
        for index in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(json.loads(path.read_text())) == 150


async def test_the_command_forgets_the_answers_of_this_client_only(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    other, loose = tmp_path / "other", tmp_path / "loose"
    for each in (other, loose):
        each.mkdir()
    store = ConsentFile(file)
    for each in (folder, other, loose):
        store.remember(str(each), "always")
    async with user(file, RUN, folders=[folder]) as (person, editor):
        editor.open("x = 1\n", (loose / "a.py").as_uri())
        assert await person.allows(None)
        answer = await editor.client.workspace_execute_command_async(FORGET)
        assert answer == {"forgotten": True}
        await editor.wait_for_message("StarCoder asks again before it runs generated code here.")
        assert json.loads(file.read_text()) == {str(other): "always"}
        for asked in (folder, loose, None):
            assert await person.allows(asked)
        assert len(person.questions) == 4


async def test_the_command_says_if_the_setting_prevents_the_question(file: Path) -> None:
    async with user(file, None, {"runTests": "never"}) as (_, editor):
        await editor.client.workspace_execute_command_async(FORGET)
        await editor.wait_for_message(
            "The answers are forgotten, but StarCoder does not ask: starcoder.runTests is never, "
            "or the workspace is not trusted."
        )


async def test_a_cancelled_request_leaves_the_question_open(folder: Path, file: Path) -> None:
    async with user(file, RUN) as (person, editor):
        person.may_answer.clear()
        params = {"folder": str(folder), "what": "a test"}
        future = editor.client.protocol.send_request("test/mayRun", params, msg_id="m1")
        await person.wait_for_question()
        editor.client.cancel_request(types.CancelParams("m1"))
        with pytest.raises(JsonRpcException, match="cancel"):
            await asyncio.wrap_future(future)
        person.may_answer.set()
        assert await person.allows(folder)
        assert len(person.questions) == 1


async def test_a_late_answer_counts_for_the_next_request(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def ask(_: LanguageServer, __: str, params: types.ShowMessageRequestParams) -> Any:
        questions.append(params.message)
        return await answer

    monkeypatch.setattr("lsp_server.session.consent.ask_client", ask)
    server = LanguageServer("silent", "1")
    consent = Consent(server, Settings(), file=ConsentFile(file), max_wait_s=0.05)
    assert not await consent.may_run(folder, "a test")
    assert not await consent.may_run(folder, "a test")
    answer.set_result(types.MessageActionItem(RUN))
    assert await consent.may_run(folder, "a test")
    assert len(questions) == 1


async def test_an_answer_that_cannot_be_stored_counts_for_the_session(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("no folder")
    async with user(tmp_path / "data" / "consent.json", NEVER) as (person, _):
        assert not await person.allows(folder)
        person.answer = ALWAYS
        assert not await person.allows(folder)
        assert len(person.questions) == 1

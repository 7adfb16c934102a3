"""One model is in memory once, however its name is written, and its engine ends when unneeded."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from engine.api import GenerationRequest
from engine.client.control import EngineControl
from engine.client.endpoint import Endpoint, RuntimeFiles
from engine.client.engine_key import engine_key
from engine.client.managed import ManagedEngine, shares_process
from engine.client.running import SILENT, RunningEngine, running_engines, stop_engine
from engine.errors import EngineReplacedError
from engine.loading.catalog import Checkpoint, check_eligibility, inspect_model, select_checkpoint
from engine.loading.on_disk import EMBEDDED_DIR, cached_snapshot, path_on_disk, shown_name
from engine.machine import Memory
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.loading.gguf_maker import make_model, write_gguf
from tests.engine.server.serving import until

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REQUEST = GenerationRequest((20, 21, 22), 2)

Make = Callable[..., ManagedEngine]


@pytest.fixture(autouse=True)
def runtime(own_engines: Path) -> Path:
    return own_engines


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    engines: list[ManagedEngine] = []

    def managed(model: str | Path, *, unix: bool | None = None, **settings: Any) -> ManagedEngine:
        own = EngineSettings(model=str(model), **{"device": "cpu", **settings})
        engines.append(ManagedEngine(own, unix=unix))
        return engines[-1]

    yield managed
    for engine in engines:
        await engine.aclose()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one model, whose files are links as the hub's client makes them."""
    cache = tmp_path / "hub"
    folder = cache / "models--owner--tiny"
    snapshot = folder / "snapshots" / COMMIT
    blobs = make_checkpoint(folder / "blobs")
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return snapshot


def key(model: str | Path, **settings: Any) -> str:
    return engine_key(EngineSettings(model=str(model), **settings))


async def until_gone(pid: int, seconds: float = 5.0) -> None:
    await until(lambda: not is_running(pid), seconds)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def other_process(code: str, *arguments: str) -> str:
    """Return what another process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


async def use(engine: ManagedEngine) -> None:
    assert [chunk async for chunk in engine.stream(REQUEST)]


# The key.


def test_every_way_to_write_a_models_path_has_one_key(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tiny_checkpoint)
    (tmp_path / "copy").mkdir()
    for file in tiny_checkpoint.iterdir():
        os.link(file, tmp_path / "copy" / file.name)
    monkeypatch.chdir(tiny_checkpoint.parent)
    monkeypatch.setenv("HOME", str(tiny_checkpoint.parent))
    name = tiny_checkpoint.name
    written: list[str | Path] = [
        tiny_checkpoint,
        name,
        f"./{name}",
        f"~/{name}",
        f"{tiny_checkpoint}/",
        f"{tiny_checkpoint}/../{name}",
        tmp_path / "link",
        tmp_path / "copy",
    ]
    assert len({key(each) for each in written}) == 1


def test_demo_and_its_directory_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(EMBEDDED_DIR)
    assert key("demo") == key(EMBEDDED_DIR) == key(tmp_path / "link")


def test_a_hub_id_its_revisions_and_its_snapshot_folder_have_one_key(hub: Path) -> None:
    plain = key("owner/tiny")
    assert plain == key(hub)
    assert plain == key("owner/tiny", revision="main") == key("owner/tiny", revision=COMMIT)
    assert plain == key("owner/tiny", offline=True)
    assert plain != key("owner/tiny", revision="other")
    assert shown_name(hub, str(hub)) == "owner/tiny"
    with suppress(FileNotFoundError):
        next(hub.glob("*.safetensors")).unlink()
    assert cached_snapshot("owner/tiny", None) is None
    assert key("owner/tiny") != plain


def test_a_gguf_file_and_the_folder_with_it_have_one_key(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", make_model("llama"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "named.gguf").symlink_to(file)
    assert key(file) == key(tmp_path) == key(tmp_path / "elsewhere" / "named.gguf")


@pytest.mark.parametrize(
    "options",
    [{"dtype": "int8"}, {"device": "cuda"}, {"context_window": 128}, {"draft_model": "demo"}],
)
def test_what_changes_the_computation_changes_the_key(options: dict[str, Any]) -> None:
    assert key("demo", **options) != key("demo")


@pytest.mark.parametrize(
    "options", [{"idle_timeout_s": 5.0}, {"offline": True}, {"revision": "x"}, {"reserve_for": "y"}]
)
def test_what_does_not_change_the_computation_does_not_change_the_key(
    options: dict[str, Any], tiny_checkpoint: Path
) -> None:
    assert key("demo", **options) == key("demo")
    assert key(tiny_checkpoint, **options) == key(tiny_checkpoint)


def test_offline_matters_while_a_model_is_not_on_disk() -> None:
    assert key("owner/absent", offline=True) != key("owner/absent")
    assert key("auto", offline=True) == key("auto")
    assert key("demo", draft_model="owner/absent") != key(
        "demo", draft_model="owner/absent", offline=True
    )


def test_new_weights_at_the_same_path_are_another_model(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "model")
    before = key(path)
    assert key(path) == before
    weights = next(path.glob("*.safetensors"))
    os.utime(weights, ns=(1, 1))
    assert key(path) != before


def test_an_upgrade_does_not_talk_to_an_older_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key("demo")
    monkeypatch.setattr("engine.client.engine_key._product_version", lambda: "9.9")
    assert key("demo") != before
    monkeypatch.undo()
    monkeypatch.setattr("engine.client.engine_key.WIRE_VERSION", 99)
    assert key("demo") != before


def test_damaged_and_missing_models_have_a_key(tmp_path: Path, hub: Path) -> None:
    (hub / "model.safetensors.index.json").write_text("[]")
    (tmp_path / "several").mkdir()
    for name in ("a", "b"):
        write_gguf(tmp_path / "several" / f"{name}.gguf", make_model("llama"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for model in (
        "owner/tiny",
        tmp_path / "several",
        tmp_path / "loop",
        "",
        "\0",
        "a//b",
        "ollama:x",
    ):
        assert path_on_disk(str(model), None) is None or model == ""
        assert len(key(model)) == 12


def test_a_key_is_found_without_torch() -> None:
    code = (
        "import sys; from engine.client.engine_key import engine_key\n"
        "from engine.settings import EngineSettings\n"
        "[engine_key(EngineSettings(model=m)) for m in ('auto', 'demo', 'a/b')]\n"
        "print({'torch', 'transformers', 'accelerate'} & set(sys.modules))"
    )
    assert other_process(code) == "set()"


# One process.


async def test_auto_demo_and_paths_share_one_process(make: Make, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(EMBEDDED_DIR)
    names = ("auto", "demo", EMBEDDED_DIR, tmp_path / "link", os.path.relpath(EMBEDDED_DIR))
    engines = [make(name, idle_timeout_s=100.0 + place) for place, name in enumerate(names)]
    infos = [await engine.info() for engine in engines]
    assert len({info.pid for info in infos}) == 1
    assert {info.model for info in infos} == {"demo"}
    (running,) = await running_engines()
    assert (running.pid, running.clients, running.state) == (infos[0].pid, 5, "ready")
    assert {(await engine.health()).pid for engine in engines} == {running.pid}


@pytest.mark.parametrize("unix", [True, False])
async def test_auto_finds_the_engine_that_has_its_model(
    make: Make, runtime: Path, unix: bool
) -> None:
    demo, auto = make("demo", unix=unix), make("auto", unix=unix)
    pid = (await demo.info()).pid
    assert (await auto.info()).pid == pid
    assert (await auto.health()).pid == pid
    assert [engine.pid for engine in await running_engines(unix=unix)] == [pid]
    await use(auto)
    # The next client of `auto` starts no process to find that out.
    started = len(list(runtime.glob("*.lock")))
    began = time.monotonic()
    assert (await make("auto", unix=unix).info()).pid == pid
    assert time.monotonic() - began < 1.0
    assert len(list(runtime.glob("*.lock"))) == started


async def test_clients_that_start_together_share_one_process(make: Make) -> None:
    engines = [make(name) for name in ("auto", "demo", EMBEDDED_DIR, "auto")]
    infos = await asyncio.gather(*(engine.info() for engine in engines))
    assert len({info.pid for info in infos}) == 1


async def test_another_number_format_is_another_process(make: Make) -> None:
    pids = {(await make("demo").info()).pid, (await make("auto", dtype="int8").info()).pid}
    assert len(pids) == 2


async def test_after_the_engine_has_ended_its_alias_leads_nowhere(
    make: Make, runtime: Path
) -> None:
    demo, auto = make("demo"), make("auto")
    await demo.info()
    await auto.info()
    assert list(runtime.glob("*.alias"))
    (running,) = await running_engines()
    psutil.Process(running.pid).kill()
    await until_gone(running.pid)
    await asyncio.gather(*(use(engine) for engine in (auto, demo)))
    pids = {(await engine.health()).pid for engine in (auto, demo)}
    assert len(pids) == 1
    assert running.pid not in pids


def test_a_planted_alias_is_not_followed_forever(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    files = RuntimeFiles(runtime, "a" * 12, True)
    other = replace(files, key="b" * 12)
    files.write_alias(other.key)
    assert files.resolved() == other
    other.write_alias(files.key)
    assert files.resolved().key in (files.key, other.key)
    for content in ("../../x", "", "c" * 13, "\udcff"):
        files.write_alias("b" * 12)
        (runtime / f"engine-{files.key}.alias").write_bytes(content.encode(errors="replace"))
        assert files.resolved() == files
    files.remove_alias()
    (runtime / f"engine-{files.key}.alias").symlink_to(runtime / f"engine-{other.key}.alias")
    assert files.resolved() == files


def checkpoint(tiny: Path) -> Checkpoint:
    model = inspect_model(tiny, "tiny")
    assert isinstance(model, Checkpoint)
    return replace(model, has_fim=True)


def test_auto_may_select_a_model_in_memory_although_no_more_is_free(tiny_checkpoint: Path) -> None:
    model, full = checkpoint(tiny_checkpoint), Memory(0, (0,))
    assert not check_eligibility(model, full).is_eligible
    assert check_eligibility(model, full, is_loaded=True).is_eligible
    assert select_checkpoint([model], full) is None
    selection = select_checkpoint([model], full, lambda path: path == tiny_checkpoint)
    assert selection is not None
    assert selection.checkpoint is model
    # Whatever else speaks against it still counts.
    without_fim = replace(model, has_fim=False)
    assert not check_eligibility(without_fim, full, is_loaded=True).is_eligible


# Idle timeouts and clients.


async def report_of(runtime_engine: ManagedEngine) -> RunningEngine:
    pid = (await runtime_engine.health()).pid
    (report,) = [each for each in await running_engines() if each.pid == pid]
    return report


async def test_the_longest_idle_timeout_of_the_connected_clients_counts(make: Make) -> None:
    short, long, never = (make("demo", idle_timeout_s=each) for each in (50.0, 500.0, 0.0))
    expected: list[tuple[ManagedEngine, float]] = [(short, 50.0), (long, 500.0), (never, 0.0)]
    for engine, seconds in expected:
        await engine.info()
        assert (await report_of(short)).idle_timeout_s == seconds
    await never.aclose()
    await asyncio.sleep(0.2)
    assert (await report_of(short)).idle_timeout_s == 500.0
    await long.aclose()
    await asyncio.sleep(0.2)
    report = await report_of(short)
    assert (report.idle_timeout_s, report.clients) == (50.0, 1)
    await short.aclose()
    await asyncio.sleep(0.2)
    (left,) = await running_engines()
    assert (left.idle_timeout_s, left.clients) == (50.0, 0)


async def test_a_killed_client_is_not_counted(make: Make) -> None:
    engine = make("demo")
    await engine.info()
    code = (
        "import asyncio, os\nfrom engine.client.managed import ManagedEngine\n"
        "from engine.settings import EngineSettings\n"
        "async def main():\n"
        "    engine = ManagedEngine(EngineSettings(model='demo', device='cpu'))\n"
        "    await engine.info()\n"
        "    print('connected', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"connected\n"
    assert (await report_of(engine)).clients == 2
    other.kill()
    await other.communicate()
    await asyncio.sleep(0.2)
    assert (await report_of(engine)).clients == 1


async def test_the_last_client_that_chooses_another_model_ends_the_process(make: Make) -> None:
    first, second = make("demo"), make(EMBEDDED_DIR)
    pid = (await first.info()).pid
    await second.info()
    assert pid is not None
    await first.leave()
    await asyncio.sleep(1.0)
    assert psutil.pid_exists(pid)
    await use(second)
    await second.leave()
    await until_gone(pid, 3.0)
    # A request that comes too late does not start it again.
    with pytest.raises(EngineReplacedError, match="Ask again"):
        await second.info()
    assert await running_engines() == []


async def test_a_client_that_closes_lets_the_process_run(make: Make) -> None:
    engine, last = make("demo"), make("demo")
    pid = (await engine.info()).pid
    await last.info()
    await last.leave()  # not the last one
    await asyncio.sleep(0.2)
    await engine.aclose()
    await asyncio.sleep(1.2)
    assert [each.pid for each in await running_engines()] == [pid]


async def test_a_new_client_keeps_an_abandoned_process(make: Make, runtime: Path) -> None:
    engine = make("demo")
    pid = (await engine.info()).pid
    (files,) = RuntimeFiles.running()
    endpoint = files.endpoint()
    assert endpoint is not None
    leaving, coming = EngineControl(endpoint), EngineControl(endpoint)
    await leaving.attend(10.0)
    await engine.aclose()
    await leaving.leave()
    await coming.attend(10.0)
    await leaving.aclose()
    await asyncio.sleep(1.2)
    assert [each.pid for each in await running_engines()] == [pid]
    await coming.aclose()


async def test_a_process_that_is_still_starting_ends_too(make: Make) -> None:
    engine = make("demo")
    info = asyncio.create_task(engine.info())
    await asyncio.sleep(0.3)
    await engine.leave()
    with suppress(Exception):
        await info
    await until(lambda: not RuntimeFiles.running(), 5.0)


async def test_a_client_that_never_connected_starts_and_ends_nothing(make: Make) -> None:
    other = make("demo")
    pid = (await other.info()).pid
    await make("demo").leave()
    await asyncio.sleep(0.8)
    assert [each.pid for each in await running_engines()] == [pid]


async def test_two_settings_share_a_process_or_not(make: Make) -> None:
    auto, demo = (EngineSettings(model=name, device="cpu") for name in ("auto", "demo"))
    assert shares_process(demo, replace(demo, idle_timeout_s=1.0))
    assert not shares_process(demo, replace(demo, dtype="int8"))
    assert not shares_process(auto, demo)
    await make("auto").info()
    assert shares_process(auto, demo)


# The list of processes.


async def test_a_silent_process_is_listed_and_can_be_stopped(make: Make) -> None:
    engine = make("demo")
    pid = (await engine.info()).pid
    assert pid is not None
    psutil.Process(pid).suspend()
    (running,) = await running_engines()
    assert (running.pid, running.state, running.model) == (pid, SILENT, "")
    await stop_engine(running)
    await until_gone(pid)
    assert await running_engines() == []


async def test_a_stopped_engine_leaves_no_address_and_is_started_again(
    make: Make, runtime: Path
) -> None:
    engine = make("demo")
    await engine.info()
    (running,) = await running_engines()
    await stop_engine(running)
    assert not is_running(running.pid)
    assert {path.suffix for path in runtime.iterdir()} <= {".lock", ".alive", ".alias"}
    await use(engine)
    assert (await engine.health()).pid != running.pid


async def test_a_process_that_has_another_id_by_now_is_not_touched(runtime: Path) -> None:
    """A killed engine leaves its process file, and the system gives its id to another process."""
    runtime.mkdir(mode=0o700)
    files = RuntimeFiles(runtime, "a" * 12, True)
    bystander = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    record = {"pid": bystander.pid, "created": 1.0}
    files.process_file.write_text(json.dumps(record))
    assert RuntimeFiles.running() == []
    await stop_engine(RunningEngine(files, bystander.pid))
    assert bystander.returncode is None
    for content in ("", "[]", '{"pid": "x"}', '{"pid": 0, "created": 0}', "\udcff"):
        files.process_file.write_bytes(content.encode(errors="replace"))
        await stop_engine(RunningEngine(files, bystander.pid))
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_a_stopped_process_may_have_a_successor_immediately(runtime: Path) -> None:
    """A client whose request was interrupted has started the next process with the same lock."""
    runtime.mkdir(mode=0o700)
    files = RuntimeFiles(runtime, "a" * 12, True)
    stopped = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    record = {"pid": stopped.pid, "created": psutil.Process(stopped.pid).create_time()}
    files.process_file.write_text(json.dumps(record))
    with FileLock(files.alive_lock):
        async with asyncio.timeout(5):
            await stop_engine(RunningEngine(files, stopped.pid))
    assert await stopped.wait() != 0


async def test_an_engine_that_serves_a_team_cannot_be_stopped_over_http(tmp_path: Path) -> None:
    """`starcoder-lsp serve` has no such URL."""
    socket = tmp_path / "s"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "lsp_server", "serve", "-m", "demo", "--uds", str(socket)
    )
    try:
        await until(socket.exists, 30.0)
        control = EngineControl(Endpoint("http://engine", uds=socket))
        assert not await control.stop()
        report = await control.report()
        assert report is None or "pid" not in report
        await control.aclose()
        assert await running_engines() == []
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()

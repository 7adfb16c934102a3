"""Files that a program sees in place of others, or where there is nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from sandbox.command import Command, Outcome
from sandbox.sandbox import Sandbox

SHOW = """
for folder, folders, names in __import__("os").walk("."):
    for name in names:
        path = folder + "/" + name
        print(path, open(path).read().strip())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project é"
    (folder / "src" / "inner").mkdir(parents=True)
    (folder / "src" / "code.py").write_text("old code")
    (folder / "src" / "inner" / "deep.py").write_text("deep")
    (folder / "tests").mkdir()
    for number in range(3):
        (folder / "tests" / f"test_{number}.py").write_text(f"test {number}")
    (folder / "link.py").symlink_to("src/code.py")
    (folder / "gone").symlink_to("/nowhere")
    folder.chmod(0o755)
    return folder


def listing(box: Sandbox, project: Path) -> list[str]:
    result = box.run_command(Command(("python3", "-c", SHOW), folder=project))
    output = result.output.decode()
    assert result.outcome is Outcome.PASSED, output
    return sorted(output.splitlines())


def overlaid(box: Sandbox, project: Path, *names: str) -> tuple[Sandbox, list[Path]]:
    files = []
    for number, _ in enumerate(names):
        file = project.parent / f"overlay-{number}"
        file.write_text(f"new {number}")
        file.chmod(0o644)
        files.append(file)
    overlays = {project / name: file for name, file in zip(names, files, strict=True)}
    return replace(box, readable=(project,), overlays=overlays), files


def test_a_program_sees_files_in_place_of_others_and_new_ones(box: Sandbox, project: Path) -> None:
    (project / "gone").unlink()
    names = ("src/code.py", "tests/test_new.py", "new/folder/x.py")
    overlaid_box, _ = overlaid(box, project, *names)
    assert listing(overlaid_box, project) == [
        "./link.py new 0",
        "./new/folder/x.py new 2",
        "./src/code.py new 0",
        "./src/inner/deep.py deep",
        "./tests/test_0.py test 0",
        "./tests/test_1.py test 1",
        "./tests/test_2.py test 2",
        "./tests/test_new.py new 1",
    ]
    assert (project / "src" / "code.py").read_text() == "old code"
    assert not (project / "tests" / "test_new.py").exists()


def test_a_prepared_sandbox_shows_what_the_files_contain_now(box: Sandbox, project: Path) -> None:
    (project / "gone").unlink()
    overlaid_box, (file,) = overlaid(box, project, "src/code.py")
    prepared = overlaid_box.prepared()
    assert "./src/code.py new 0" in listing(prepared, project)
    file.write_text("newer")
    assert "./src/code.py newer" in listing(prepared, project)


@pytest.mark.parametrize("path", ["src/code.py", "src/other.py", "tests/test_new.py", "new.py"])
def test_nothing_of_the_project_can_be_written(box: Sandbox, project: Path, path: str) -> None:
    overlaid_box, _ = overlaid(box, project, "src/code.py", "tests/test_new.py")
    result = overlaid_box.run_command(
        Command(("/bin/sh", "-c", f"echo x > {path}"), folder=project)
    )
    assert result.outcome is Outcome.FAILED
    assert (project / "src" / "code.py").read_text() == "old code"
    assert sorted(path.name for path in project.iterdir()) == ["gone", "link.py", "src", "tests"]


def test_a_broken_link_stays_one(box: Sandbox, project: Path) -> None:
    overlaid_box, _ = overlaid(box, project, "x.py")
    command = Command(("/bin/sh", "-c", "readlink gone link.py"), folder=project)
    assert overlaid_box.run_command(command).output.decode() == "/nowhere\nsrc/code.py\n"


def test_a_folder_of_two_thousand_files(box: Sandbox, project: Path) -> None:
    (project / "gone").unlink()
    for number in range(2000):
        (project / "tests" / f"a_rather_long_name_of_a_test_{number}.py").write_text("x")
    overlaid_box, _ = overlaid(box, project, "tests/test_new.py")
    assert len(listing(overlaid_box, project)) == 2000 + 7


def test_a_file_outside_of_the_readable_folders_is_refused(box: Sandbox, project: Path) -> None:
    outside = replace(
        box, readable=(project,), overlays={project.parent / "x": project / "link.py"}
    )
    with pytest.raises(ConfigurationError, match="in no folder"):
        outside.prepared()
    system = replace(box, readable=(Path("/usr"),), overlays={Path("/usr/x"): project / "link.py"})
    with pytest.raises(ConfigurationError, match="in no folder"):
        system.prepared()


def test_special_files_next_to_an_overlay_are_hidden(box: Sandbox, project: Path) -> None:
    import os

    os.mkfifo(project / "src" / "pipe")
    overlaid_box, _ = overlaid(box, project, "src/code.py")
    command = Command(("/bin/sh", "-c", "test -p src/pipe"), folder=project)
    assert overlaid_box.run_command(command).outcome is Outcome.FAILED

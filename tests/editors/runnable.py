"""A Python project in which the sandbox can run tests of the function `add`."""

from pathlib import Path

from benchmarks.written_tests.environment import make_environment

TESTS = "from example import add\n\n\ndef test_zero():\n    assert add(0, 0) == 0\n"


def lay_out_tests(folder: Path) -> Path:
    """Write an environment and a test file into a project, and return the test file."""
    make_environment(folder / ".venv")
    file = folder / "test_example.py"
    file.write_text(TESTS)
    # If the tests run as root, the program of a sandbox is another user.
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    return file

"""A user who goes on typing until there is a suggestion, or until the editor says what is wrong."""

import asyncio

from tests.e2e.client import Editor

SECONDS_TO_NOTICE = 20.0
SECONDS_TO_RECOVER = 40.0
"""The client asks a server that failed again after longer and longer pauses."""
_PAUSE_S = 0.5


async def until_suggested(editor: Editor, seconds: float = SECONDS_TO_RECOVER) -> str:
    """Type and ask until there is a suggestion at the end of the text; return it."""
    async with asyncio.timeout(seconds):
        while True:
            editor.insert(0, "#\n")  # so that no suggestion comes from the cache
            if suggestion := await editor.suggestion(len(editor.text), invoked=True):
                return suggestion
            await asyncio.sleep(_PAUSE_S)


async def until_reported(editor: Editor, seconds: float = SECONDS_TO_NOTICE) -> str:
    """Type and ask until the status says that something is wrong; return its sentence."""
    async with asyncio.timeout(seconds):
        while not editor.statuses or editor.statuses[-1]["state"] != "error":
            editor.insert(0, "#\n")
            editor.request_completion(len(editor.text), invoked=True)
            await asyncio.sleep(_PAUSE_S)
    return str(editor.statuses[-1]["message"])

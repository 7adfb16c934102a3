"""What the server keeps does not grow with the number of keys."""

import asyncio

from tests.e2e.client import scripted, start


async def test_no_future_is_kept_for_a_notification_or_an_answered_request() -> None:
    """pygls keeps a future for each `didChange`; see `lsp_server.session.pygls_internals`."""
    async with start(scripted("1")) as editor:
        editor.open("x = ")
        for number in range(50):
            editor.insert(len(editor.text), str(number % 10))
            future = editor.request_completion(len(editor.text))
            await asyncio.wrap_future(future)
        assert await editor.request("test/futures") == 1  # of this request itself

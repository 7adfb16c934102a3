"""Limits of the HTTP interface. docs/engine.md lists them.

They are far above what editors, OpenAI's client and evaluation programs send, and low enough that
no request takes noticeable time or memory from the others.
"""

MAX_BODY_BYTES = 2 * 2**20
"""Maximum size of a body. A prompt of 131,072 token ids takes 1 MiB, as text half of that."""
BODY_BURST_BYTES, BODY_BYTES_PER_S = 2 * MAX_BODY_BYTES, 2**19
"""Bytes of bodies of one user that are read immediately, and then per second.

Reading JSON keeps the interpreter lock, and encoding its text takes a core. At this rate they take
a fifth of a core, and a person who types sends a tenth of it.
"""
MAX_HEAD_BYTES = 16 * 2**10
"""Maximum size of the request line and headers."""

MAX_PROMPTS = 256
"""Maximum number of prompts of one request."""
MAX_PROMPT_TOKENS = 2**20
"""Maximum number of tokens of all prompts of one request."""
MAX_SCORES = 500_000
"""Maximum number of log-probabilities in a response, those of alternatives included."""
MAX_MESSAGES = 1024
"""Maximum number of messages of a chat, and of parts of a message."""
MAX_NAME = 512
"""Maximum number of characters of a name: of a model, an adapter or a role."""

MAX_EXCERPTS = 1024
"""Maximum number of excerpts of other files in `input_extra`."""
MAX_RESPONSE_FIELDS = 64
"""Maximum number of names in `response_fields`."""

MAX_STOPS = 64
"""Maximum number of strings in `stop` and in `continue_line_after`."""
MAX_STOP = 1000
"""Maximum number of characters of each of these strings."""
MAX_STOP_IDS = 1024
"""Maximum number of ids in `stop_token_ids`."""
MAX_FORCED_PREFIX = 4000
"""Maximum number of characters of `forced_prefix`."""
MAX_DRAFT_TOKENS = 2048
"""Maximum number of ids in `draft_tokens`."""
MAX_PASSAGES = 128
"""Maximum number of passages in `memory`."""
MAX_PASSAGE = 2000
"""Maximum number of characters of a passage, and of the text before the output in `memory`."""
MAX_ALTERNATIVES = 20
"""Maximum number of likeliest alternatives per token, as in OpenAI's API."""
MAX_INT = 2**31 - 1
"""Maximum of counts and token ids."""
MAX_SEED = 2**63 - 1
"""Maximum of a seed; the minimum is its negative. These are 64 bits, as in vLLM."""

MAX_REQUESTS = 64
"""Maximum number of requests of one user that run or wait at a time."""
MAX_REQUESTS_OF_ALL = 256
"""Maximum number of requests of all users that run or wait at a time."""
MIN_REQUESTS = 4
"""Number of requests that a user may have in any case. A typist has one, and those that the next
key has cancelled count until the server notices it."""
MAX_CONNECTIONS = 512
"""Maximum number of open connections."""
RETRY_AFTER_S = 1
"""Seconds after which a client may try again when there are too many requests."""

HEAD_SECONDS = 10.0
"""Seconds in which the head of a request must arrive, from the start of the connection."""
BODY_SECONDS = 20.0
"""Seconds in which the body of a request must arrive."""
SEND_SECONDS = 60.0
"""Seconds for which a client may read nothing of a response that does not fit the buffers."""
LINGER_SECONDS = 2.0
"""Seconds for which the rest of a refused body is read, so that the refusal arrives."""
KEEP_ALIVE_SECONDS = 5
"""Seconds for which a connection without a request stays open: uvicorn's default."""

"""Real servers of other projects, as engines: vLLM, vllm-router, LiteLLM and llama.cpp's server.

`python -m benchmarks.servers` measures them. The tests in `tests/servers` start them the same way.
`make test-servers` installs them into `.servers`.
"""

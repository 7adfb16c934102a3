"""Many users of one server over HTTP: recorded typing that is replayed, chats, and a flood.

The parts, from the bottom to the top:

- `outcomes`: what became of one request, and the statistics of many
- `recording`: sessions of simulated typists, recorded once with the whole completer
- `bodies`: the recorded requests as bodies for our server or for another one with OpenAI's API
- `connection`: one connection of a user, which costs the load generator little
- `users`: typists, chat users and one user who floods the server
- `servers`: our `serve` and vLLM, started and measured
- `run`: one number of users with one server
- `prometheus`: whether the server's metrics agree with the users' counts
- `report`: tables and JSON
"""

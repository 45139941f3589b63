"""Processes that share the listeners while one keeps the tokens (`workers: N`): docs/workers.md has the picture.

The main process binds, keeps definitions, grants and tokens, renews, and answers operators. It starts the workers by
executing the same program again, with one end of a socket pair, and hands them everything through that: definitions,
listening sockets, and a copy of each token's life, anew whenever it changes. A worker serves the whole data path. What
it takes of a token is a look into its memory; what upstreams say of one it tells the main process, which alone renews.
One that ends takes only its own streams along: the sockets and what waits in them belong to all. One whose main process
ends finds the socket pair at its end, and ends too.

`codec`, `frames` and `counts` are pure, `channel` is the socket pair, `held` the listeners of both sides, `board` is
memory that all share; `publisher`, `totals`, `child`, `heartbeat` and `supervisor` belong to the main process,
`copies`, `accepting` and `worker` to a worker.
"""

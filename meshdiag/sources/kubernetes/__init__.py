"""The containers of a cluster as a live source, on the official client's asyncio API.

`select` says which containers count, `access` how to reach a cluster, `api` asks it, `pods` watches, `cursor` remembers where a
log was read to, `follower` reads one container, `collector` all of them.
"""

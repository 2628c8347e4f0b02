"""The service: jobs that survive restarts, the clips they made, and what stands between them and the network.

``jobs.Jobs`` is the queue, in SQLite or PostgreSQL; ``blobs.Blobs`` keeps clips under their content hashes;
``retention`` deletes what is old. Needs ``pip install 'happyhorse[server]'``.
"""

"""The pure core: values, the state machine of one monitor, the record of all monitors, the limits of restarts.

supervisord, the listener and the worker all import it, so it runs in each of them. It reads no file, opens no socket,
starts no thread and knows nothing of supervisor; callers bring the time. It imports only `errors` and `options`.
"""

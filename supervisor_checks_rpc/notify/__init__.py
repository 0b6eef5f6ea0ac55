"""`supervisor_health_notify`: an [eventlistener] that sends what happens to processes where people read it.

A process of its own. Its main thread acknowledges each event at once; one thread gathers and writes messages, and one
for each URL sends them. A URL holds secrets: it is never logged, and what comes from below Apprise is redacted.
"""

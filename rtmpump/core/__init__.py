"""What RTM and our promises mean: bytes and `now` in, values out.

The laws of this room:

1. Nothing here owns a socket, a thread, a lock or a clock. Time comes in as `now`, in seconds of
   one monotonic clock that the caller chose; times of day come in as milliseconds since 1970.
2. Nothing here imports from `rtmpump` but `errors` and its neighbours in this room, and nothing
   knows pika, websocket-client, slack_sdk or tenacity.
3. Bytes from outside never raise, however odd: they become a value that says what is wrong. Only
   our own mistakes (a tag that was never handed out, a transition that can't be) raise, and then
   nothing has changed.
4. The same input gives the same output, today and after a restart: message ids hang on it.
"""

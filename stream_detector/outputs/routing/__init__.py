"""Which alerts go where and when: routes, silences and calendars, and the loop that carries them.

`config` reads `routes.toml`; `matching`, `calendars`, `silences`, `state` and `outbox` decide, and
are pure: they are given the time. `runner` reads the alerts topic for one route and hands what is
due to a sink of `stream_detector.outputs.sinks`.
"""

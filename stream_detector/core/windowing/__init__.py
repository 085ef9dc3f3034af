"""Windows cut from samples, by key and in event time: the same offline, live and on replay.

A batch of samples passes through the modules in this order::

    sessions       which records belong together: a key that was idle too long starts over
    stream_time    how the time of a partition advances, and with it who has expired
    clock_filter   samples whose time cannot be their key's are held, dropped or late
    reordering     late and repeated samples are dropped, the others put in the order of time
    parts          samples of one cell that each bring some of its values are merged
    grid           each sample gets its cell; gaps divide a series into segments
    windows        windows that are complete are handed out, the rest waits in the keyed state
    imputation     missing values of a window are filled in

`rules` says how windows are cut, `keyed_state` holds what the next batch needs, and `arrays` has
array helpers. `series_health` counts what came of each series since a window of it was scored, and
`diagnosis` says from that why one is not scored. Everything is decided record by record from the
samples of one key and the stream time of its partition, so the result never depends on where a
stream was cut into batches.
"""

"""Windows cut from samples, by key and in event time."""

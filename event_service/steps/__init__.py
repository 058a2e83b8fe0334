"""The steps of the pipeline, in their order: turns, parse, reject, relay; append and apply are its own."""

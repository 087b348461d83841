"""Pure: values, decisions, the latency model, the queue, the simulator. No clock, no I/O, no await."""

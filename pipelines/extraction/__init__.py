"""From a catalogue to committed feature tables: plan, shards, executors, driver."""

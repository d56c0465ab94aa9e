"""What several rooms use and none owns: files, JSON, process pools, the cache of compiled code."""

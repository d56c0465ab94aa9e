"""What several rooms use and none owns: files, JSON, process pools, lazy names, the cache of compiled code."""

"""Tables: the field registry, Arrow schemas, part files, the commit log and the reader."""

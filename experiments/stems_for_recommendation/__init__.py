"""Studies of what the tables are good for; each is a module to run, with a page in ``docs/experiments``."""

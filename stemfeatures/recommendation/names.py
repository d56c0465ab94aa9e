"""What recommenders, splits and questions are called; imports nothing, so that the command line can name them."""

#: What has no need of packages beyond the core, weakest first.
CORE_KINDS = ("random", "popularity", "content", "als", "hybrid")
EXTRA_KINDS = ("implicit-als", "implicit-bpr")
KINDS = CORE_KINDS + EXTRA_KINDS
USES_FEATURES = ("content", "hybrid")
RANKS_UNSEEN = ("random", "content", "hybrid")
#: What learns with a regularization that can be tuned.
TUNABLE = ("content", "als", "hybrid", "implicit-als")
#: How interactions are split, and what is asked then.
METHODS = ("leave-k-out", "time")
QUESTIONS = ("warm", "cold_tracks", "cold_users")

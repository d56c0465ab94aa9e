"""Songs that never were, with everything that is true of them: :func:`.song.generate_song`.

:mod:`.compose` writes the score, :mod:`.play` and :mod:`.sing` perform it, :mod:`.mix` makes a record of it;
:mod:`.song` puts it together, :mod:`.stream` makes tensors of it.
"""

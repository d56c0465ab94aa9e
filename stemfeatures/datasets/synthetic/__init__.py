"""Songs that never were, with everything that is true of them: :func:`.song.generate_song`.

:mod:`.styles` and :mod:`.composer` write the score; :mod:`.synths`, :mod:`.note_bank` and :mod:`.instruments` play it;
:mod:`.voice` sings; :mod:`.console` mixes; :mod:`.song` puts it together; :mod:`.stream` makes tensors of it.
"""

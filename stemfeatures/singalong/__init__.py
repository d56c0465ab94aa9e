"""Pages to sing along with: stems behind faders, words that light up as they are sung, the pitch of singer and user.

::

    from stemfeatures.singalong import write_page

    write_page("song.mp3", "page", "Lyrics as people have them ...")  # open page/index.html
"""

from .page import SingAlongPage, write_page

__all__ = ["SingAlongPage", "write_page"]

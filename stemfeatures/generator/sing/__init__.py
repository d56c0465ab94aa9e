"""Lines of melody to singing: voices, phones, recorded phrases."""

"""What a training run learns from: sounds, songs, parts, and how examples are drawn and mixed from them."""

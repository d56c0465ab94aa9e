"""What a training run learns from: sounds, songs and recordings, and how examples are drawn and mixed from them."""

"""Adversarial and factorised training on little paired data: audio, digits, images."""

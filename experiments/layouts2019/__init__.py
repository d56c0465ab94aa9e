"""The layouts of the 2019 paper on equal data, and the 2017 U-Net as a baseline."""

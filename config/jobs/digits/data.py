"""Writes scikit-learn's handwritten digits as digits.csv: one row a digit, 64 pixels (0 to 16) and the label."""

import csv

from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
with open("digits.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow([f"p{i}" for i in range(64)] + ["label", "ink"])
    for image, label in zip(images, labels):
        ink = "faint" if image.mean() < 4.5 else "strong"
        rows.writerow([int(pixel) for pixel in image] + [label, ink])
print(f"rows={len(labels)}")

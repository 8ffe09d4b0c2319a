"""The organiser's side: compares the predictions in $input/res with the truth in $input/ref."""

import csv
import sys
from pathlib import Path


def read(path: Path) -> dict[str, int]:
    """Column `malignant` by case."""
    with path.open(newline="") as source:
        return {row["case"]: int(row["malignant"]) for row in csv.DictReader(source)}


def main(given: Path, output: Path) -> None:
    """Write scores.txt, which the site reads, and a page with the details."""
    truth, predicted = read(given / "ref" / "truth.csv"), read(given / "res" / "predictions.csv")
    pairs = [(predicted.get(case), real) for case, real in truth.items()]
    hits = sum(guess == real for guess, real in pairs)
    found = sum(guess == real == 1 for guess, real in pairs)
    claimed, sick = sum(guess == 1 for guess, _ in pairs), sum(real == 1 for _, real in pairs)
    scores = {"accuracy": hits / len(pairs), "f1": 2 * found / (claimed + sick)}
    (output / "scores.txt").write_text("".join(f"{name}: {value:.4f}\n" for name, value in scores.items()))
    rows = "".join(f"<tr><td>{name}<td>{value:.4f}" for name, value in scores.items())
    (output / "detailed_results.html").write_text(f"<!doctype html><title>Scores</title><table>{rows}</table>\n")
    print(f"{hits} of {len(pairs)} cases right")


main(Path(sys.argv[1]), Path(sys.argv[2]))

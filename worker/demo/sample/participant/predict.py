"""The participant's side: reads cases from /mnt/in, writes one prediction for each to /mnt/out."""

import csv
import sys
from pathlib import Path


def risk(case: dict[str, str]) -> float:
    """A modest model: large and rough lesions are suspicious."""
    return 0.35 * float(case["radius_mm"]) + 1.2 * float(case["roughness"]) - 3.2


def main() -> None:
    """Predict every case."""
    with Path("/mnt/in/cases.csv").open(newline="") as source:
        cases = list(csv.DictReader(source))
    with Path("/mnt/out/predictions.csv").open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["case", "malignant"])
        writer.writerows([case["case"], int(risk(case) > 0)] for case in cases)
    print(f"predicted {len(cases)} cases", flush=True)
    print("model: a line drawn by hand", file=sys.stderr)


main()

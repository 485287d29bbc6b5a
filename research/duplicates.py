"""Measure how well near-duplicates are found: recall on synthetic copies, precision on pairs judged by eye.

    python research/duplicates.py reproduced/manifest.csv

Writes docs/results/duplicates.json, from which ``make docs`` renders the tables of docs/data.md. Recall is measured
each time; the verdicts on pairs are read from docs/results/duplicate_pairs.csv. To judge pairs (a new sample, or
after the finder changed), draw them, look at the sheets and fill in the column ``verdict``:

    python research/duplicates.py reproduced/manifest.csv --draw FOLDER
"""

import argparse
import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from covidcxr._files import write_json
from covidcxr.data.duplicates import DuplicatePair, Fingerprint, find_duplicates, fingerprint, read_duplicates
from covidcxr.data.manifest import Record, read_manifest
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey

DOCS = Path(__file__).parents[1] / "docs"
VERDICTS = DOCS / "results" / "duplicate_pairs.csv"
RESULT = DOCS / "results" / "duplicates.json"

COPIES, PAIRS = 200, 100
HARD = 0.98
"""All pairs that agree less than this are judged, in addition to the sample."""
SAME, PERSON, OTHER = "same radiograph", "same person, another radiograph", "another person"

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def rescale(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Squeeze to 299 x 299 pixels, as the Radiography database does."""
    return image.resize((299, 299), Image.Resampling.BICUBIC)


def recompress(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Save as JPEG of quality 40."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("L")


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut 3 % off every side."""
    width, height = image.size
    return image.crop((round(0.03 * width), round(0.03 * height), round(0.97 * width), round(0.97 * height)))


def crop_one_corner(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut 3 % off the left and the bottom."""
    width, height = image.size
    return image.crop((round(0.03 * width), 0, width, round(0.97 * height)))


def brighten(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Multiply the grey values by 0.7 to 1.3 and clip at white."""
    factor = rng.uniform(0.7, 1.3)
    return image.point([min(255, round(factor * grey)) for grey in range(256)])


def change_all(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Crop on every side, rescale, change the brightness and recompress."""
    return recompress(brighten(rescale(crop(image, rng), rng), rng), rng)


CHANGES: dict[str, Change] = {
    "rescaled to 299 x 299": rescale,
    "recompressed, JPEG quality 40": recompress,
    "cropped 3 % on every side": crop,
    "cropped 3 % on two sides": crop_one_corner,
    "brightness times 0.7 to 1.3": brighten,
    "cropped, rescaled, brightness, recompressed": change_all,
}


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / total + spread / (4 * total)) ** 0.5
    return middle - half, min(1.0, middle + half)


def figure(hits: int, total: int) -> dict[str, float]:
    """Return a share with its interval."""
    low, high = wilson(hits, total)
    return {"hits": hits, "total": total, "share": round(hits / total, 4), "low": round(low, 4), "high": round(high, 4)}


def recall(records: list[Record], seed: int) -> dict[str, dict[str, float]]:
    """Copy images in each way and count the copies that are paired with their original."""
    rng = np.random.default_rng(seed)
    chosen = [records[i] for i in rng.choice(len(records), COPIES, replace=False)]
    images = {record.id: read_image(record.path) for record in chosen}
    originals = {name: fingerprint(grey) for name, grey in images.items()}
    result = {}
    for way, change in CHANGES.items():
        found = copies_found(originals, {name: changed(grey, change, rng) for name, grey in images.items()})
        result[way] = figure(found, COPIES)
        print(f"{way}: {found} of {COPIES}")
    return result


def changed(grey: Grey, change: Change, rng: np.random.Generator) -> Fingerprint:
    """Return the fingerprint of a copy."""
    return fingerprint(np.asarray(change(Image.fromarray(grey), rng)))


def copies_found(originals: dict[str, Fingerprint], copies: dict[str, Fingerprint]) -> int:
    """Return how many copies are paired with their original."""
    both = originals | {f"copy of {name}": copy for name, copy in copies.items()}
    pairs = {(pair.id_a, pair.id_b) for pair in find_duplicates(list(both), list(both.values()))}
    return sum(tuple(sorted((name, f"copy of {name}"))) in pairs for name in originals)


def closest_strangers(records: list[Record]) -> float:
    """Return the highest agreement of images of two NIH patients, who are known to be different people."""
    patients = {record.id: record.patient_id for record in records if record.source == "nih"}
    fingerprints = [fingerprint(read_image(record.path)) for record in records if record.source == "nih"]
    pairs = find_duplicates(list(patients), fingerprints, min_agreement=0)
    return max((p.correlation for p in pairs if patients[p.id_a] != patients[p.id_b]), default=0.0)


def sample(pairs: list[DuplicatePair], seed: int) -> list[tuple[DuplicatePair, str]]:
    """Return a random sample of pairs, and every pair that agrees less than HARD."""
    chosen = np.random.default_rng(seed).choice(len(pairs), min(PAIRS, len(pairs)), replace=False)
    hard = [pair for pair in pairs if pair.correlation < HARD]
    return [(pairs[i], "random") for i in sorted(chosen)] + [(pair, "hardest") for pair in hard]


def draw(records: list[Record], drawn: list[tuple[DuplicatePair, str]], folder: Path, side: int = 300) -> None:
    """Write sheets of 16 pairs and the table to fill in."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {record.id: record.path for record in records}
    for first in range(0, len(drawn), 16):
        sheet = Image.new("L", (4 * (2 * side + 20), 4 * (side + 24)), 255)
        for place, (pair, _) in enumerate(drawn[first : first + 16]):
            left, top = place % 4 * (2 * side + 20), place // 4 * (side + 24)
            for number, name in enumerate((pair.id_a, pair.id_b)):
                picture = Image.fromarray(read_image(paths[name])).resize((side, side))
                sheet.paste(picture, (left + number * side, top + 20))
            label = f"{first + place}  {pair.correlation}  {pair.id_a[-40:]}  {pair.id_b[-40:]}"
            ImageDraw.Draw(sheet).text((left, top + 4), label, fill=0)
        sheet.save(folder / f"pairs-{first:03}.png")
    with (folder / VERDICTS.name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id_a", "id_b", "correlation", "sample", "verdict"])
        writer.writerows([pair.id_a, pair.id_b, pair.correlation, kind, ""] for pair, kind in drawn)


def precision(pairs: list[DuplicatePair]) -> dict[str, object]:
    """Count the verdicts; every judged pair must still be found."""
    with VERDICTS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(pair.id_a, pair.id_b) for pair in pairs}
    gone = [row for row in rows if (row["id_a"], row["id_b"]) not in found]
    wrong = [row for row in rows if row["verdict"] not in (SAME, PERSON, OTHER)]
    if gone or wrong:
        raise SystemExit(f"{VERDICTS}: Expected verdicts on pairs that are found. Received {gone + wrong}.")
    random = Counter(row["verdict"] for row in rows if row["sample"] == "random")
    hardest = Counter(row["verdict"] for row in rows if row["sample"] == "hardest")
    total = sum(random.values())
    return {
        "same radiograph": figure(random[SAME], total),
        "same radiograph or person": figure(random[SAME] + random[PERSON], total),
        "verdicts on the sample": {name: random[name] for name in (SAME, PERSON, OTHER)},
        "verdicts on the hardest": {name: hardest[name] for name in (SAME, PERSON, OTHER)},
    }


def across(pairs: list[DuplicatePair]) -> dict[str, int]:
    """Count pairs by the two collections."""
    counts = Counter(tuple(sorted(name.split("/")[0] for name in (pair.id_a, pair.id_b))) for pair in pairs)
    return {" and ".join(names): count for names, count in sorted(counts.items())}


def main() -> None:
    """Draw pairs to judge, or measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw pairs to judge instead of measuring")
    given = parser.parse_args()
    records = read_manifest(given.manifest)
    pairs = read_duplicates(given.manifest.with_suffix(".duplicates.csv"))
    if given.draw:
        draw(records, sample(pairs, given.seed), given.draw)
        return
    result = {
        "seed": given.seed,
        "pairs": len(pairs),
        "pairs by collections": across(pairs),
        "recall": recall(records, given.seed),
        "closest strangers": closest_strangers(records),
        "precision": precision(pairs),
    }
    write_json(RESULT, result)


if __name__ == "__main__":
    main()

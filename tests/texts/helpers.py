"""Files of texts."""

from __future__ import annotations


def write(folder, count: int = 20) -> None:
    for name, word in (("bad", "dull"), ("good", "fine")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            text = " ".join(["a", word, "Film"] * (number % 3 + 1)) + "."
            (folder / name / f"{number}.txt").write_text(text, encoding="utf-8")

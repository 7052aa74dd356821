"""Measure rosters on this machine: import of CSV, gz, zip (both ciphers) and XLSX, and a province-wide plan over them.

    .venv/bin/python tests/bench/roster.py 500000 2000000
    .venv/bin/python tests/bench/roster.py 5000000 --only csv

Every step is the product's own command as a process of its own; rows/s count its CPU seconds, start included, so that a shared
machine tells the same; memory is the peak resident size the kernel reports.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import pyzipper
import xlsxwriter
from rehearsal import ROSTER_BASIS, Rehearsal

from broadcaster.files.areas import read_areas

CARRIERS: Final = {
    "viettel": ("04", ("96", "97", "98", "86", "32", "33", "34", "35")),
    "vinaphone": ("02", ("91", "94", "88", "81", "83")),
}
INVENTORY_COLUMNS: Final = (
    "carrier",
    "radio",
    "mcc",
    "mnc",
    "area",
    "cell",
    "site",
    "lat",
    "lon",
    "commune",
    "valid_from",
    "valid_to",
)
SITES: Final = 3000
"""Cells of each carrier, in turn in every commune; some rows are under cells that no inventory has."""
XLSX_ROWS: Final = 1_000_000
"""A worksheet ends at 1,048,576."""
CARD: Final = ('host = "127.0.0.1"', "port = 1", "tps = 100", "window = 10", 'response_id = "dec"', 'receipt_id = "dec"')
PASSWORD: Final = "mat-khau-12"
FORMS: Final = ("csv", "gz", "zip", "zip-aes", "xlsx")


class Bench:
    def __init__(self, folder: Path, subscribers: int) -> None:
        self.folder, self.subscribers = folder, subscribers
        self.rehearsal = Rehearsal(folder)
        self.rehearsal.initialise()
        for code in CARRIERS:
            self.rehearsal.write_card(code, *CARD)
            self._write_cells(code)

    def run(self, forms: list[str]) -> None:
        print(f"{self.subscribers:,} subscribers")
        for form in forms:
            rows = min(self.subscribers, XLSX_ROWS) if form == "xlsx" else self.subscribers
            self._import(f"roster import ({form})", form, "viettel", rows)
        if forms == list(FORMS) or "csv" in forms:
            # A third of the second carrier's subscribers are in the first one's roster too.
            self._import("roster import (another carrier)", "csv", "vinaphone", self.subscribers // 4)
            self._plan()

    def _import(self, what: str, form: str, carrier: str, rows: int) -> None:
        export = self._export(form, carrier, rows)
        cpu, seconds, peak = self._measure(
            "--json", "roster", "import", str(export), "--carrier", carrier, *ROSTER_BASIS, "--accept-difference"
        )
        size = export.stat().st_size >> 20
        self._note(what, rows, cpu, seconds, peak, f"{size} MiB")
        export.unlink()

    def _plan(self) -> None:
        order = self.rehearsal.write_order()
        order.write_text(
            order.read_text().replace('areas = "province"', f'areas = "province"\ncarriers = {json.dumps(list(CARRIERS))}')
        )
        cpu, seconds, peak = self._measure("--json", "campaign", "plan", str(order))
        self._note("campaign plan, whole province", self.subscribers + self.subscribers // 4, cpu, seconds, peak, "")

    @staticmethod
    def _note(what: str, rows: int, cpu: float, seconds: float, peak: float, more: str) -> None:
        print(
            f"  {what:<34} {rows / cpu:>9,.0f} rows/s of CPU  {cpu:6.1f} s CPU  {seconds:6.1f} s  {peak:4.0f} MB  {more}", flush=True
        )

    def _measure(self, *words: str) -> tuple[float, float, float]:
        """Return CPU seconds, wall seconds and peak memory (MB) of one command."""
        began = time.perf_counter()
        process = self.rehearsal.start(*words)
        assert process.stdout is not None
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{words}: exit {process.returncode}\n{self.rehearsal.log}")
        return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1024

    def _write_cells(self, code: str) -> None:
        areas = [area.code for area in read_areas()]
        path = self.folder / f"cells-{code}.csv"
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(INVENTORY_COLUMNS)
            mnc = CARRIERS[code][0]
            table.writerows(
                [code, "lte", 452, mnc, 100, 1000 + at, f"S{at}", 15.1, 108.8, areas[at % len(areas)], "2025-07-01", ""]
                for at in range(SITES)
            )
        self.rehearsal.command("cell", "import", str(path))

    def _lines(self, carrier: str, rows: int) -> Iterator[tuple[str, str, str]]:
        chance = random.Random(rows)
        mnc, heads = CARRIERS[carrier]
        shared = CARRIERS["viettel"][1]
        now = dt.datetime.now().astimezone(dt.timezone(dt.timedelta(hours=7))).replace(microsecond=0, tzinfo=None)
        seen = [(now - dt.timedelta(seconds=11 * at)).isoformat(" ") for at in range(20_000)]
        for at in range(rows):
            head = shared[at % 8] if carrier == "vinaphone" and at % 3 == 0 else heads[at % len(heads)]
            # Multiplying by a number prime to the range walks it without repetition and without order.
            tail = (at // 8 if head in shared else at // len(heads)) * 7_368_787 % 10_000_000
            yield f"84{head}{tail:07d}", f"lte:452-{mnc}:{1000 + chance.randrange(SITES + 20)}", seen[chance.randrange(20_000)]

    def _export(self, form: str, carrier: str, rows: int) -> Path:
        plain = self.folder / f"{carrier}-{form}.csv"
        header = ("msisdn", "cell", "last_seen")
        if form == "xlsx":
            book = xlsxwriter.Workbook(str(plain.with_suffix(".xlsx")), {"constant_memory": True})
            sheet = book.add_worksheet("Sheet1")
            for at, row in enumerate(chain([header], self._lines(carrier, rows))):
                for column, value in enumerate(row):
                    sheet.write_string(at, column, value)
            book.close()
            return plain.with_suffix(".xlsx")
        with plain.open("w") as file:
            file.write(",".join(header) + "\n")
            file.writelines(f"{number},{cell},{seen}\n" for number, cell, seen in self._lines(carrier, rows))
        if form == "csv":
            return plain
        packed = plain.with_suffix(f".{form}")
        if form == "gz":
            with plain.open("rb") as source, gzip.open(packed, "wb", 6) as target:
                shutil.copyfileobj(source, target)
        elif form == "zip":
            subprocess.run(["zip", "-q", "-j", "-P", PASSWORD, str(packed), str(plain)], check=True)
        else:
            with pyzipper.AESZipFile(packed, "w", compression=pyzipper.ZIP_DEFLATED, encryption=pyzipper.WZ_AES) as archive:
                archive.setpassword(PASSWORD.encode())
                archive.write(plain, plain.name)
        plain.unlink()
        return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=[200_000, 2_000_000])
    parser.add_argument("--only", choices=FORMS, action="append")
    asked = parser.parse_args()
    os.environ["BROADCASTER_ROSTER_PASSWORD"] = PASSWORD
    for size in asked.sizes:
        folder = Path(tempfile.mkdtemp(prefix="broadcaster-bench-"))
        bench = Bench(folder, size)
        try:
            bench.run(asked.only or [form for form in FORMS if form != "zip" or shutil.which("zip")])
        finally:
            bench.rehearsal.close()
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()

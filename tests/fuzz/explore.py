"""Let a coverage-guided fuzzer (atheris) look for what the parsers cannot bear: `make fuzz FUZZ_SECONDS=3600`.

The first octet of an input chooses the parser: the frames of a session of either role, PDU bodies, receipts, subscribers' replies.
What it finds interesting stays in the corpus folder for the next time; what breaks something is written beside it as `crash-…`, and
`explore.py --corpus FOLDER FILE` runs that one again.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["broadcaster.smpp", "broadcaster.rules.refusal", "broadcaster.text.fold"]):
    from fuzz_seeds import RECEIPT_TEXTS, REPLIES, SEEDS, Victim, read_body, read_message

from broadcaster.rules.refusal import read_reply
from broadcaster.smpp import DeliverSm, Role, Tag

CODINGS: Final = (0, 3, 8)


def frames_to_esme(octets: bytes) -> None:
    Victim(Role.ESME).suffer(octets)


def frames_to_smsc(octets: bytes) -> None:
    Victim(Role.SMSC).suffer(octets)


def receipt(octets: bytes) -> None:
    """Read a receipt: two octets of kind, then the text; an odd first octet moves the text to message_payload."""
    kind, coding, text = octets[0], octets[1], octets[2:]
    body = DeliverSm("84901234567", "CANHBAO", text, esm_class=kind & 0x7C, data_coding=CODINGS[coding % len(CODINGS)])
    read_message(body._replace(short_message=b"", tlvs={Tag.MESSAGE_PAYLOAD: text}) if kind & 1 else body)


def reply(octets: bytes) -> None:
    read_reply(octets.decode("utf-16-be", "replace"))


PARSERS: Final[tuple[Callable[[bytes], None], ...]] = (frames_to_esme, frames_to_smsc, read_body, receipt, reply)


def one_input(octets: bytes) -> None:
    if len(octets) > 2:
        PARSERS[octets[0] % len(PARSERS)](octets[1:])


def write_seeds(folder: Path) -> None:
    seeds = [bytes((parser,)) + seed for seed in SEEDS for parser in range(3)]
    seeds += [
        b"\3\4" + bytes((index,)) + text.encode(coding)
        for text in RECEIPT_TEXTS
        for index, coding in ((0, "ascii"), (2, "utf-16-be"))
    ]
    seeds += [b"\4" + text.encode("utf-16-be") for text in REPLIES]
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("again", nargs="*", help="inputs to run once, instead of exploring")
    options = parser.parse_args()
    write_seeds(options.corpus / "corpus")
    where = [f"-artifact_prefix={options.corpus}/"]
    exploring = [
        str(options.corpus / "corpus"),
        f"-max_total_time={options.seconds}",
        "-max_len=2048",
        "-timeout=5",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *where, *(options.again or exploring)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

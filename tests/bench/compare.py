"""Times workloads on coffer and its peers, interleaved, and prints medians and ratios. See compare.sh."""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peers import PEERS, Coffer, Gocryptfs, Passthrough, Peer
from workloads import MIB, WORKLOADS, Sizes, Workload, drop_caches


@dataclass
class Figures:
    """What one peer made of one workload, a figure a round."""

    unit: str
    per_second: list[float] = field(default_factory=list)
    cpu_per_unit: list[float] = field(default_factory=list)  # seconds of the daemon, for a GB or 1,000 files
    peak_mib: list[float] = field(default_factory=list)

    def rate(self) -> float:
        return statistics.median(self.per_second)


def measure(peer: Peer, workload: Workload, sizes: Sizes, figures: Figures) -> None:
    if workload.cache == "cold":
        drop_caches()
    elif workload.cache == "warm":
        workload.run(peer, sizes)  # another's cold read has dropped what was there
    peer.forget_peak()
    cpu = peer.cpu_seconds()
    seconds, units = workload.run(peer, sizes)
    figures.per_second.append(units / seconds)
    figures.cpu_per_unit.append((peer.cpu_seconds() - cpu) / (units if workload.unit == "GB" else units / 1000))
    figures.peak_mib.append(peer.peak_mib())


def show(rate: float, unit: str) -> str:
    return f"{rate:.2f}" if unit == "GB" else f"{rate:.0f}"


def print_table(found: dict[str, dict[str, Figures]], names: list[str]) -> None:
    ratios = [name for name in (Gocryptfs.name, Passthrough.name) if name in names and Coffer.name in names]
    heads = ["workload", "unit/s", *names, *(f"coffer/{name}" for name in ratios), "CPU s", "CPU s gocr.", "peak MiB"]
    rows = [heads]
    for workload, by_peer in found.items():
        unit = next(iter(by_peer.values())).unit
        row = [workload, unit, *(show(by_peer[name].rate(), unit) for name in names)]
        row += [f"{by_peer[Coffer.name].rate() / by_peer[name].rate():.2f}" for name in ratios]
        for name in (Coffer.name, Gocryptfs.name):
            row.append(f"{statistics.median(by_peer[name].cpu_per_unit):.2f}" if name in by_peer else "")
        row.append(f"{max(by_peer[Coffer.name].peak_mib):.0f}" if Coffer.name in by_peer else "")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for row in rows:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare.sh", description=__doc__)
    parser.add_argument("--backing", type=Path, default=Path("/dev/shm"), help="directory for all backings (default: tmpfs)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="the large file")
    parser.add_argument("--accesses", type=int, default=20_000, help="pages of random access")
    parser.add_argument("--files", type=int, default=20_000, help="small files")
    parser.add_argument("--tree", type=int, default=3_000, help="files to untar")
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads to report; those that they need run too")
    parser.add_argument("--peers", default="", metavar="NAME,…", help="default: all that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures of all rounds")
    return parser.parse_args()


def needed(only: str) -> list[Workload]:
    """The workloads asked for, and those that make what they work on."""
    names: set[str] = set()
    for workload in reversed(WORKLOADS):  # makers stand before
        if re.search(only, workload.name) or workload.name in names:
            names |= {workload.name, workload.after}
    return [workload for workload in WORKLOADS if workload.name in names]


def chosen_peers(names: str) -> list[type[Peer]]:
    asked = set(names.split(",")) if names else set()
    unknown = asked - {kind.name for kind in PEERS}
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(kind.name for kind in PEERS)}")
    chosen = []
    for kind in PEERS:
        if asked and kind.name not in asked:
            continue
        why = kind.missing()
        if why is None:
            chosen.append(kind)
        elif asked or kind in (Passthrough, Gocryptfs, Coffer):
            print(f"left out: {kind.name} ({why})", file=sys.stderr)
    return chosen


def allow_descriptors(kinds: list[type[Peer]], sizes: Sizes) -> None:
    """passthrough_ll keeps one for each inode."""
    wanted = 2 * (sizes.files + sizes.tree) + 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or Passthrough not in kinds:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except ValueError:
        sys.exit(f"passthrough_ll needs {wanted} descriptors, and the limit is {hard}: fewer --files, or other --peers")


def main() -> None:
    options = arguments()
    sizes = Sizes(options.size * MIB, options.accesses, options.files, options.tree)
    kinds = chosen_peers(options.peers)
    allow_descriptors(kinds, sizes)
    home = Path(tempfile.mkdtemp(prefix="coffer-bench-", dir=options.backing))
    peers: list[Peer] = []
    try:
        for kind in kinds:
            peers.append(kind(home))
            peers[-1].start()
        found = run_rounds(peers, needed(options.only), sizes, options.rounds)
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(home, ignore_errors=True)
    print_table(found, [peer.name for peer in peers])
    if options.json:
        plain = {workload: {name: asdict(figures) for name, figures in by_peer.items()} for workload, by_peer in found.items()}
        options.json.write_text(json.dumps({"sizes": asdict(sizes), "workloads": plain}, indent=1) + "\n")


def run_rounds(peers: list[Peer], workloads: list[Workload], sizes: Sizes, rounds: int) -> dict[str, dict[str, Figures]]:
    found = {workload.name: {peer.name: Figures(workload.unit) for peer in peers} for workload in workloads}
    for number in range(rounds):
        for workload in workloads:
            # Each begins once, so that none always has the neighbour's dirt.
            turn = number % len(peers)
            for peer in peers[turn:] + peers[:turn]:
                measure(peer, workload, sizes, found[workload.name][peer.name])
            print(f"round {number + 1}/{rounds}: {workload.name}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()

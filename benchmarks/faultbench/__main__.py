"""`python -m faultbench`: runs what is missing, and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(
        "faultbench",
        description="Puts faults into real trainings and tells how well telltales and its peers name them.",
        epilog="example:\n  ./lab bench faults --only digits-mlp --faults 'no zero_grad'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=Path("faultbench.jsonl"), help="goes on with this file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many trainings at the same time")
    parser.add_argument("--seeds", type=int, default=3, help="of each fault and each healthy variant")
    parser.add_argument("--healthy-seeds", type=int, default=45, help="of each program as it is")
    parser.add_argument("--only", metavar="PROGRAM", action="append", help="of these programs only")
    parser.add_argument("--faults", metavar="FAULT", action="append", help="these faults only")
    parser.add_argument("--half", choices=("tuning", "reporting", "unseen", "all"), default="all")
    parser.add_argument("--tools", metavar="TOOL", action="append", help="these tools only")
    parser.add_argument("--again", metavar="TOOL", action="append", default=[], help="hear this tool anew")
    parser.add_argument("--list", action="store_true", help="say what would be run")
    parser.add_argument("--table", action="store_true", help="run nothing: print the table of what is there")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()

    from faultbench import table
    from faultbench.faults import FAULTS
    from faultbench.programs import PROGRAMS
    from faultbench.running import HEALTHY, jobs, key_of, read_results, run_all

    programs = [p.name for p in PROGRAMS if options.half in ("all", p.half)]
    if options.only:
        unknown = set(options.only) - {p.name for p in PROGRAMS}
        if unknown:
            parser.error(f"no program is called {', '.join(unknown)}: there are {', '.join(programs)}")
        programs = [name for name in programs if name in options.only]
    faults = options.faults or [fault.name for fault in FAULTS]
    unknown = set(faults) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no fault is called {', '.join(unknown)}: there are {', '.join(f.name for f in FAULTS)}")
    wanted = jobs(options.seeds, options.healthy_seeds, programs, faults)
    if options.list:
        for name in programs:
            of_program = [job for job in wanted if job.program == name]
            faulty = {job.fault: None for job in of_program if job.fault != HEALTHY}
            print(f"{name} ({of_program[0].half}): {len(of_program)} runs, {len(faulty)} faults: {', '.join(faulty)}")
        return 0
    if not options.table:
        run_all(wanted, options.results, options.jobs, options.tools, options.again)
    keys = {(job.program, job.variant, job.fault, job.seed) for job in wanted}
    found = [result for result in read_results(options.results) if key_of(result) in keys]
    if options.json:
        print(json.dumps(table.as_json(found), indent=2))
    else:
        halves = ("unseen", "reporting", "tuning") if options.half == "all" else (options.half,)
        print("\n".join(table.text(found, half) for half in halves if any(r["half"] == half for r in found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""State that grows past a limit of memory: ten million new keys in ten triggers, each counted and summed.

    benches/compare/memory.py                                          without a limit, and with limits down to less than the state
    benches/compare/memory.py --keys 1000000 --limits none,64MB --rounds 1

Prints for each limit the seconds of the whole process, its peak of resident memory and the peak of what of it is no file (the heap), the slowest
trigger, and seconds and peak of a restart. Resident memory counts pages of mapped files that the system has not dropped; on a machine with memory
to spare it drops none. The heap is more than the limit, which counts state and what batches hold of it, not what the reader of Parquet, the log and the
allocator have in use. With few keys that is most of it. Every run has to give the same number of keys. Needs Python 3.9 and, without --bin, a Rust toolchain.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time

from wordcount import build

TRIGGERS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--limits", type=lambda text: text.split(","), default=["none", "1600MB", "800MB", "400MB"],
                        help="of memory.limit, with commas; none is without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=pathlib.Path, help="a built tidemill; else it is built")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/tidemill/compare",
                        help="data and checkpoints; on a real disk, not in memory")
    args = parser.parse_args()
    binary = args.bin.resolve() if args.bin else build("release", "--bin", "tidemill")
    data = written(binary, args.work.resolve() / f"keys-{args.keys}", args.keys)
    print(f"{'limit':>8} {'seconds':>8} {'peak MB':>8} {'of it heap':>10} {'slowest trigger ms':>19} {'restart s':>10} {'peak MB':>8}")
    for limit in args.limits:
        runs = [one(binary, args, data, limit) for _ in range(args.rounds)]
        if len({run["keys"] for run in runs}) != 1 or runs[0]["keys"] != args.keys:
            sys.exit(f"limit {limit}: {[run['keys'] for run in runs]} keys instead of {args.keys}")
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(f"{limit:>8} {middle['seconds']:8.2f} {middle['peak']:8.0f} {middle['heap']:10.0f} {middle['slowest']:19.0f} "
              f"{middle['restart']:10.2f} {middle['restart_peak']:8.0f}", flush=True)


def written(binary, directory, keys):
    """Files of keys of ten bytes in no order."""
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        each = keys // TRIGGERS
        for number in range(TRIGGERS):
            # Multiplied by a number that has no factor in common with 10^9, all of them differ.
            key = "concat('k', lpad(CAST((value * 387420489) % 1000000000 AS STRING), 9, '0'))"
            rows = f"SELECT {key} AS k, value % 1000 AS v FROM generate_series({number * each}, {(number + 1) * each - 1})"
            sql = f"CREATE SINK o USING parquet OPTIONS (path '{directory / 'parts' / str(number)}'); INSERT INTO o {rows};"
            subprocess.run([binary, "run", "-e", sql], check=True, stdout=subprocess.DEVNULL)
            [file] = (directory / "parts" / str(number)).glob("*.parquet")
            file.rename(directory / f"{number}.parquet")
        shutil.rmtree(directory / "parts")
        (directory / "done").touch()
    return directory


def one(binary, args, data, limit):
    checkpoint = args.work / "memory-checkpoint"
    shutil.rmtree(checkpoint, ignore_errors=True)
    setting = "" if limit == "none" else f"SET memory.limit = '{limit}';"
    directory = f"SET state.directory = '{args.work}';"
    stream = f"CREATE STREAM s (k STRING, v BIGINT) USING parquet OPTIONS (path '{data}', maxFilesPerTrigger 1);"
    flow = (f"CREATE FLOW f USING noop OUTPUT MODE UPDATE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{checkpoint}' "
            "AS SELECT k, count(*) AS c, sum(v) AS t FROM s GROUP BY k;")
    run = timed(binary, setting + directory + stream + flow)
    again = timed(binary, setting + directory + stream + flow)
    shutil.rmtree(checkpoint, ignore_errors=True)
    last = run["progress"][-1]
    return {"seconds": run["seconds"], "peak": run["peak"], "heap": run["heap"], "restart": again["seconds"], "restart_peak": again["peak"],
            "slowest": max(p["batchDuration"] for p in run["progress"]), "keys": last["stateOperators"][0]["numRowsTotal"]}


def timed(binary, sql):
    """Seconds, peaks in MB, and the progress of each batch."""
    start = time.monotonic()
    process = subprocess.Popen([binary, "run", "--progress-json", "-e", sql], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks = {"peak": 0, "heap": 0}
    watch = threading.Thread(target=watched, args=(process.pid, peaks))
    watch.start()
    errors = process.stderr.read()
    if process.wait() != 0:
        sys.exit(errors)
    seconds = time.monotonic() - start
    watch.join()
    return {"seconds": seconds, "progress": [json.loads(line) for line in errors.splitlines() if line.startswith("{")], **peaks}


def watched(pid, peaks):
    """Looks at the memory of a process until it is gone."""
    while True:
        try:
            status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):
            return
        if "VmHWM" not in status:
            return
        for name, field in (("peak", "VmHWM"), ("heap", "RssAnon")):
            peaks[name] = max(peaks[name], int(status[field].split()[0]) / 1024)
        time.sleep(0.01)


if __name__ == "__main__":
    main()

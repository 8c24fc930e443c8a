#!/usr/bin/env python3
"""From a line on a socket to its row in the hands of the user, one row at a time: Tidemill and PySpark.

    benches/compare/latency.py
    benches/compare/latency.py --rows 50 --profile dev
    benches/compare/latency.py --cargo-bench         also runs cargo bench --bench latency, which measures Tidemill from Rust

Both queries have the default trigger and a checkpoint on disk. A line is sent when the row of the one before has come out, after a pause of up to 50 ms; the first
fifth of the lines warms up and does not count. With Spark a row has come out when foreachBatch has collected it; with Tidemill, whose process
is another one than that which sends, when its line has been read from the console sink. Needs what wordcount.py needs.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import threading
import time

from wordcount import REPOSITORY, build, spark_python

PAUSE = 0.05


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint-latency"
    figures = {"Tidemill": tidemill(args.bin or build(args.profile, "--bin", "tidemill"), args.rows, fresh(checkpoint))}
    if not args.no_spark:
        figures["PySpark"] = spark(args.spark_python or spark_python(args.work), args.rows, fresh(checkpoint))
    fresh(checkpoint)
    print("| engine | p50, ms | p99, ms | rows |\n|---|---|---|---|")
    for name, times in figures.items():
        print(f"| {name} | {percentile(times, 50):.2f} | {percentile(times, 99):.2f} | {len(times)} |")
    sys.stdout.flush()
    if args.cargo_bench:
        subprocess.run(["cargo", "bench", "--bench", "latency"], cwd=REPOSITORY, check=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--profile", default="release", help="cargo profile; dev only to try the script")
    parser.add_argument("--bin", type=pathlib.Path, help="a built tidemill; else it is built")
    parser.add_argument("--no-spark", action="store_true")
    parser.add_argument("--spark-python", help="a Python that has PySpark")
    parser.add_argument("--cargo-bench", action="store_true")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/tidemill/compare",
                        help="checkpoints and the virtual environment; on a real disk, not in memory")
    return parser.parse_args()


class Lines:
    """Serves lines on a port, and knows how long each has taken."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.client, self.last, self.arrived = None, None, threading.Event()

    def saw(self, text):
        if text == self.last:
            self.arrived.set()

    def measure(self, rows):
        """Milliseconds of all rows but those that warm up."""
        draw, times = random.Random(1), []
        self.client, _ = self.server.accept()
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(rows):
            time.sleep(draw.uniform(0, PAUSE))
            times.append(self.one(f"line{number}"))
        return times[rows // 5:]

    def one(self, text):
        self.arrived.clear()
        self.last = text
        start = time.perf_counter()
        self.client.sendall(f"{text}\n".encode())
        if not self.arrived.wait(120):
            raise TimeoutError(f"{text} did not come out within two minutes")
        return (time.perf_counter() - start) * 1000


def tidemill(binary, rows, checkpoint):
    lines = Lines()
    sql = f"""CREATE STREAM lines USING socket OPTIONS (host '127.0.0.1', port {lines.port});
              CREATE FLOW f CHECKPOINT LOCATION '{checkpoint}' AS INSERT INTO console SELECT value FROM lines;"""
    process = subprocess.Popen([binary, "run", "-e", sql], stdout=subprocess.PIPE, text=True)

    def read():
        for line in process.stdout:
            lines.saw(line.strip().strip("|").strip())

    threading.Thread(target=read, daemon=True).start()
    try:
        return lines.measure(rows)
    finally:
        process.terminate()
        process.wait()


def spark(python, rows, checkpoint):
    """Runs this file in the Python that has PySpark."""
    environment = {**os.environ, "PYSPARK_PYTHON": str(python)}
    done = subprocess.run([python, __file__, "--spark-job", str(rows), checkpoint], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def spark_job(rows, checkpoint):
    from pyspark.sql import SparkSession

    cores = len(os.sched_getaffinity(0))
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    lines = Lines()

    def show(batch, _):
        for row in batch.collect():
            lines.saw(row.value)

    stream = session.readStream.format("socket").option("host", "127.0.0.1").option("port", lines.port).load()
    query = stream.writeStream.foreachBatch(show).option("checkpointLocation", checkpoint).start()
    times = lines.measure(int(rows))
    query.stop()
    print(json.dumps(times))


def percentile(times, percent):
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return directory


if __name__ == "__main__":
    if sys.argv[1:2] == ["--spark-job"]:
        spark_job(*sys.argv[2:])
    else:
        main()

#!/usr/bin/env python3
"""Word count over a directory of text files: Tidemill, one DataFusion batch, and PySpark, in turn, on the same files.

    benches/compare/wordcount.py                     2 M lines of 10 words, 100 000 distinct, ten files
    benches/compare/wordcount.py --lines 20000 --profile dev --rounds 1
    benches/compare/wordcount.py --no-spark

Needs a Rust toolchain and Python 3.9; for Spark also Java 17, and PySpark, which is installed into a virtual
environment below the working directory unless --spark-python names a Python that has it. Each round runs every engine
once; the table shows medians, and ratios of times that were measured in the same round. The results are compared: an
engine that counts other lines or words than the others ends the run with an error.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time
import venv
from itertools import accumulate

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PYSPARK = "pyspark==4.3.0"
WORDS_PER_LINE = 10
# For DataFusion a line is one CSV field: no byte of the text is a separator or a quote.
TEXT_OPTIONS = "OPTIONS ('format.has_header' 'false', 'format.delimiter' '\x01', 'format.quote' '\x02')"
BATCH_SQL = "SELECT word, count(*) AS n FROM (SELECT unnest(string_to_array(value, ' ')) AS word FROM lines) GROUP BY word"


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    text = text_files(args.work, args.files, args.lines // args.files, args.words)
    engines = {"tidemill": tidemill(build(args.profile, "--bin", "tidemill")),
               "datafusion batch": batch(build(args.profile, "--example", "batch"))}
    if not args.no_spark:
        engines["spark"] = spark(args.spark_python or spark_python(args.work))
    rounds = []
    for number in range(1, args.rounds + 1):
        rounds.append(one_round(engines, text, args.work / "checkpoint"))
        print(f"round {number}: " + ", ".join(f"{name} {r['seconds']:.2f} s" for name, r in rounds[-1].items()))
        check(rounds[-1])
    report(rounds)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2_000_000, help="lines in all files together")
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--words", type=int, default=100_000, help="size of the vocabulary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", default="release", help="cargo profile; dev only to try the script")
    parser.add_argument("--no-spark", action="store_true")
    parser.add_argument("--spark-python", help="a Python that has PySpark")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/tidemill/compare",
                        help="text, checkpoints and the virtual environment; on a real disk, not in memory")
    args = parser.parse_args()
    if min(args.lines, args.files, args.words, args.rounds) < 1 or args.lines < args.files:
        parser.error("there must be at least one round, one word, and one line for each file")
    return args


def text_files(work, files, lines, vocabulary):
    """The directory with the text, made once for these numbers. The words follow Zipf's law, as those of people do."""
    target = work / f"text-{files}x{lines}-{vocabulary}"
    if target.exists():
        return target
    print(f"writing {files} files of {lines} lines to {target}")
    draw = random.Random(2718)
    words = [f"{draw.getrandbits(24):06x}{rank:x}" for rank in range(vocabulary)]
    weights = list(accumulate(1 / (rank + 8) for rank in range(vocabulary)))
    unfinished = target.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for number in range(files):
        with open(unfinished / f"{number:05}.txt", "w") as out:
            for _ in range(lines):
                out.write(" ".join(draw.choices(words, cum_weights=weights, k=WORDS_PER_LINE)) + "\n")
    unfinished.rename(target)
    return target


def build(profile, *what):
    """Builds a program; where it is."""
    command = ["cargo", "build", "--profile", profile, *what]
    print(" ".join(command), flush=True)
    subprocess.run(command, cwd=REPOSITORY, check=True)
    answer = subprocess.run([*command, "--message-format", "json"], cwd=REPOSITORY, check=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    messages = (json.loads(line) for line in answer.stdout.splitlines())
    return [m["executable"] for m in messages if m.get("executable")][-1]


def spark_python(work):
    """A Python with PySpark."""
    python = work / "venv" / "bin" / "python"
    if subprocess.run([python, "-c", "import pyspark"], stderr=subprocess.DEVNULL).returncode if python.exists() else True:
        print(f"installing {PYSPARK} into {work / 'venv'}")
        venv.create(work / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PYSPARK], check=True)
    return python


def tidemill(binary):
    """The whole process, from its start to its end."""
    def run(text, checkpoint):
        start = time.monotonic()
        done = subprocess.run([binary, "run", HERE / "wordcount.sql", "--progress-json",
                               "-D", f"INPUT={text}", "-D", f"CHECKPOINT={checkpoint}"],
                              check=True, stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - start
        progress = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        progress = [p for p in progress if p["numInputRows"] > 0]
        return {"seconds": seconds, "lines": sum(p["numInputRows"] for p in progress),
                "words": progress[-1]["stateOperators"][0]["numRowsTotal"], "batches": len(progress)}
    return run


def batch(binary):
    """The same count over all files at once."""
    def run(text, checkpoint):
        table = f"CREATE EXTERNAL TABLE lines (value VARCHAR) STORED AS CSV LOCATION '{text}/' {TEXT_OPTIONS}"
        file = checkpoint.with_suffix(".json")
        file.write_text(json.dumps({"setup": [table], "jobs": [{"name": "word count", "sql": BATCH_SQL}]}))
        answer = result_of([binary, file])["answer"]
        file.unlink()
        if "error" in answer:
            sys.exit(answer["error"])
        return {"seconds": answer["seconds"], "words": answer["rows"]}
    return run


def spark(python):
    environment = {**os.environ, "PYSPARK_PYTHON": str(python)}
    return lambda text, checkpoint: result_of([python, HERE / "spark_wordcount.py", text, checkpoint], environment)


def result_of(command, environment=None):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def one_round(engines, text, checkpoints):
    """Every engine once, each with a new checkpoint."""
    results = {}
    for name, run in engines.items():
        shutil.rmtree(checkpoints, ignore_errors=True)
        results[name] = run(text, checkpoints)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return results


def check(results):
    for what in ("lines", "words", "batches"):
        found = {name: r[what] for name, r in results.items() if what in r}
        if len(set(found.values())) > 1:
            sys.exit(f"the engines do not agree on the number of {what}: {found}")


def report(rounds):
    def median(values):
        return statistics.median(list(values))

    lines = rounds[0]["tidemill"]["lines"]
    print(f"\n{lines} lines, {rounds[0]['tidemill']['words']} distinct words, "
          f"{rounds[0]['tidemill']['batches']} batches, medians of {len(rounds)} rounds\n")
    print("| engine | seconds | M lines/s | speed of Tidemill to it |\n|---|---|---|---|")
    for name in rounds[0]:
        seconds = median(r[name]["seconds"] for r in rounds)
        ratio = median(r[name]["seconds"] / r["tidemill"]["seconds"] for r in rounds)
        print(f"| {name} | {seconds:.2f} | {lines / seconds / 1e6:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as e:
        sys.exit(f"{e}\n{e.stderr or ''}")

#!/usr/bin/env python3
"""Jobs over the tables of Nexmark: Tidemill, one DataFusion batch, PySpark and PyFlink, in turn, on the same files.

    benches/compare/nexmark.py                                   everything; 5 M events, three rounds
    benches/compare/nexmark.py --write-docs                      the same, and the tables go into docs/performance.md
    benches/compare/nexmark.py --events 200000 --rounds 1 --lines 20000 --json-rows 50000 --jobs q0,q12
    benches/compare/nexmark.py --engines tidemill,batch          without the JVM

Needs a Rust toolchain, Python 3.9 to 3.12 (PyFlink has no later one), Java 17, and Maven, which fetches Flink's reader of Parquet. PySpark and
PyFlink go into virtual environments below the working directory, unless --spark-python and --flink-python name Pythons that have
them. What cannot be installed is left out, and the report says so. All results are compared; the exit code is 1 if two differ.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
import zlib

import report
from jobs import JOBS, TABLES, fold, sums
from wordcount import REPOSITORY, TEXT_OPTIONS, build, spark_python, text_files

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = REPOSITORY / "docs" / "performance.md"
PYFLINK = "apache-flink==2.3.0"
# The reader of Parquet, and the classes of Hadoop that it asks for.
FLINK_JARS = ["org.apache.flink:flink-sql-parquet:2.3.0", "org.apache.hadoop:hadoop-client-api:3.4.1",
              "org.apache.hadoop:hadoop-client-runtime:3.4.1", "commons-logging:commons-logging:1.2"]
ENGINES = ["tidemill", "batch", "spark", "flink"]
WATERMARK = 4
# Flink's source of files gives them in no order, so that with four seconds most rows would be late; a day holds every window to the end.
FLINK_WATERMARK = 86400
JSON_FILE = 36_000_000
TIMES = 3


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    versions, notes = {}, []
    engines = prepare(args, versions, notes)
    paths = data(args, engines["tidemill"].binary)
    jobs = [job for job in JOBS if not args.jobs or job.name in args.jobs]
    settings = Settings(args, paths)
    warm(paths.values())
    results = {"rounds": [], "sums": {}, "probe": [], "empty": [], "versions": versions, "notes": notes, "command": command()}
    for number in range(1, args.rounds + 1):
        results["probe"].append(probe(args.work))
        results["empty"].append(engines["tidemill"].empty())
        results["rounds"].append({job.name: one_job(engines, job, settings, number, results["sums"]) for job in jobs})
    results["machine"] = machine(args)
    differences = compare(jobs, results["sums"])
    (args.work / "nexmark.json").write_text(json.dumps(results, indent=1))
    text = report.tables(jobs, results, differences)
    print("\n" + text)
    if args.write_docs:
        report.write(DOCUMENT, text)
    sys.exit(1 if differences else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="a directory with person, auction and bid in Parquet; else it is made by tidemill bench nexmark")
    parser.add_argument("--events", type=int, default=5_000_000, help="events of all three tables together, where they are made")
    parser.add_argument("--files", type=int, default=10, help="files a table, where they are made")
    parser.add_argument("--json-rows", type=int, default=900_000, help="bids that are written as JSON, in files of 36 MB")
    parser.add_argument("--lines", type=int, default=2_000_000, help="lines of the word count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=lambda text: text.split(","), help="names of jobs, with commas; else all")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=ENGINES, help="of " + ",".join(ENGINES) + "; tidemill is always one")
    parser.add_argument("--profile", default="release", help="cargo profile; dev only to try the script")
    parser.add_argument("--bin", type=pathlib.Path, help="a built tidemill; else it is built")
    parser.add_argument("--batch", type=pathlib.Path, help="the built example batch; else it is built")
    parser.add_argument("--spark-python", help="a Python that has PySpark")
    parser.add_argument("--flink-python", help="a Python that has PyFlink")
    parser.add_argument("--memory", default="6g", help="memory of Spark's JVM")
    parser.add_argument("--write-docs", action="store_true", help="replace the generated part of docs/performance.md")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/tidemill/compare",
                        help="data, checkpoints and virtual environments; on a real disk, not in memory")
    parser.add_argument("--memory-work", type=pathlib.Path, default=pathlib.Path("/dev/shm"),
                        help="a directory in memory, for the checkpoint of the run without fdatasync")
    args = parser.parse_args()
    unknown = [name for name in args.jobs or [] if name not in [job.name for job in JOBS]] + [e for e in args.engines if e not in ENGINES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; jobs are {', '.join(job.name for job in JOBS)}")
    args.work = args.work.resolve()
    return args


def command():
    """The command line without paths of this machine."""
    kept, skip = [], False
    for argument in sys.argv[1:]:
        name = argument.split("=")[0]
        of_machine = name in ("--bin", "--batch", "--spark-python", "--flink-python", "--work", "--memory-work", "--data")
        if not skip and not of_machine:
            kept.append(argument)
        skip = not skip and of_machine and "=" not in argument
    return " ".join(["benches/compare/nexmark.py", *kept])


# Engines


def prepare(args, versions, notes):
    """What can run of what was asked for."""
    engines = {"tidemill": Tidemill(args.bin.resolve() if args.bin else build(args.profile, "--bin", "tidemill"), args)}
    versions["Tidemill"] = first_line([engines["tidemill"].binary, "--version"]).split()[-1] + " at " + commit()
    versions["DataFusion"] = datafusion_version()
    makers = {"batch": lambda: Batch(args.batch or build(args.profile, "--example", "batch"), args),
              "spark": lambda: Spark(args, versions), "flink": lambda: Flink(args, versions)}
    for name, make in makers.items():
        if name not in args.engines:
            notes.append(f"{name}: not asked for")
            continue
        try:
            engines[name] = make()
        except (subprocess.CalledProcessError, OSError) as e:
            notes.append(f"{name}: could not be installed ({last_line(getattr(e, 'stderr', None)) or e})")
            print(notes[-1], flush=True)
    return engines


class Tidemill:
    """The whole process, from its start to its end."""

    def __init__(self, binary, args):
        self.binary, self.work, self.memory = binary, args.work, args.memory_work

    def empty(self):
        """Start and end of the process and nothing between."""
        return min(self.timed("")[0] for _ in range(TIMES))

    def run(self, job, settings, with_sums):
        result = self.once(job, settings, self.work / "checkpoint")
        if self.memory.is_dir():
            result["in_memory"] = self.once(job, settings, self.memory / f"tidemill-compare-{os.getpid()}")["seconds"]
        if with_sums:
            result["sums"] = self.sums(job, settings)
        return result

    def once(self, job, settings, checkpoint):
        shutil.rmtree(checkpoint, ignore_errors=True)
        seconds, progress = self.timed(self.streams(job, settings) + flow(job, checkpoint, "USING noop", job.mode, ""))
        shutil.rmtree(checkpoint, ignore_errors=True)
        return {"seconds": seconds, "rows": sum(p["numInputRows"] for p in progress), "batches": len(progress)}

    def sums(self, job, settings):
        """A run by itself, whose batches are summed up instead of dropped."""
        checkpoint, out = self.work / "checkpoint", self.work / "sums"
        for directory in (checkpoint, out):
            shutil.rmtree(directory, ignore_errors=True)
        body = f" FOREACH BATCH BEGIN INSERT INTO sums SELECT batch_id() AS batch, {', '.join(sums(job, 'spark'))} FROM batch; END"
        self.timed(self.streams(job, settings) + f"CREATE SINK sums USING json OPTIONS (path '{out}');\n"
                   + flow(job, checkpoint, "", "complete" if job.mode == "update" else job.mode, body))
        answers = [json.loads(line) for file in out.glob("*.json") for line in file.read_text().splitlines()]
        answers.sort(key=lambda answer: answer.pop("batch"))
        return fold(answers, job.mode)

    def streams(self, job, settings):
        streams = ""
        for table in job.tables:
            format_, columns = TABLES[table]
            columns = job.columns.get(table, columns)
            if job.watermark:
                columns += f", WATERMARK FOR date_time AS date_time - INTERVAL {WATERMARK} SECONDS"
            columns = "" if format_ == "text" else f"({columns})"
            streams += f"CREATE STREAM {table} {columns} USING {format_} OPTIONS (path '{settings.paths[table]}', maxFilesPerTrigger 1);\n"
        return streams

    def timed(self, sql):
        """Seconds, and the progress of each batch."""
        start = time.monotonic()
        done = subprocess.run([self.binary, "run", "--progress-json", "-e", sql], check=True, capture_output=True, text=True)
        seconds = time.monotonic() - start
        return seconds, [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def flow(job, checkpoint, sink, mode, body):
    return (f"CREATE FLOW job {sink} OUTPUT MODE {mode} TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{checkpoint}'\n"
            f"AS {job.sql}{body};")


class Batch:
    """One DataFusion batch over all files."""

    def __init__(self, binary, args):
        self.binary, self.work = pathlib.Path(binary).resolve(), args.work

    def run(self, job, settings, with_sums):
        [result] = self.ask(settings, [{"name": job.name, "sql": job.batch or job.sql, "times": TIMES}])
        if with_sums:
            where = ""
            if job.end:
                # Windows that are final by the last watermark.
                where = f" WHERE {job.end} <= (SELECT max(date_time) FROM bid) - interval '{WATERMARK} seconds'"
            sql = f"SELECT {', '.join(sums(job, 'batch'))} FROM ({job.batch or job.sql}){where}"
            [answer] = self.ask(settings, [{"name": job.name, "sql": sql, "show": True}])
            result["sums"] = answer["values"][0]
        return result

    def last_time(self, settings):
        [answer] = self.ask(settings, [{"name": "last", "sql": "SELECT CAST(max(date_time) AS VARCHAR) AS t FROM bid", "show": True}])
        return datetime.datetime.fromisoformat(answer["values"][0]["t"].rstrip("Z")[:26])

    def ask(self, settings, jobs):
        file = self.work / "batch.json"
        file.write_text(json.dumps({"setup": settings.setup(), "jobs": jobs}))
        done = subprocess.run([self.binary, file], check=True, capture_output=True, text=True)
        answers = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
        for answer in answers:
            if "error" in answer:
                raise Failed(answer["error"])
        return answers


class Spark:
    """A process of its own for each job, which runs it twice."""

    def __init__(self, args, versions):
        versions["Java"] = java_version()
        self.python = args.spark_python or spark_python(args.work)
        self.work, self.memory, self.versions = args.work, args.memory, versions
        self.environment = {**os.environ, "PYSPARK_PYTHON": str(self.python)}

    def run(self, job, settings, with_sums):
        what = settings.job(job, sums(job, "spark") if with_sums else None)
        what.update(sql=job.sql, memory=self.memory, checkpoint=str(self.work / "checkpoint"))
        result = ask_process(self.python, "spark_job.py", what, self.work, self.environment)
        self.versions["PySpark"] = result["version"]
        if with_sums:
            result["sums"] = fold(result["sums"], job.mode)
        return result


class Flink:
    """A process of its own for each job, which runs it twice."""

    def __init__(self, args, versions):
        versions["Java"] = java_version()
        self.python = args.flink_python or flink_python(args.work)
        self.work, self.versions = args.work, versions
        jars = flink_jars(args.work)
        self.jars = ";".join(f"file://{jar}" for jar in jars if "flink" in jar.name)
        self.environment = {**os.environ, "HADOOP_CLASSPATH": ":".join(str(jar) for jar in jars if "flink" not in jar.name)}

    def run(self, job, settings, with_sums):
        if not job.flink:
            return {"left_out": job.no_flink}
        what = settings.job(job, sums(job, "flink") if with_sums else None)
        what.update(sql=job.flink, jars=self.jars, checkpoint=str(self.work / "checkpoint"), end=job.end, bound=settings.bound,
                    watermark=job.watermark and FLINK_WATERMARK)
        result = ask_process(self.python, "flink_job.py", what, self.work, self.environment)
        self.versions["PyFlink"] = result["version"]
        if with_sums:
            result["sums"] = fold(result["sums"], job.mode)
        return result


class Failed(Exception):
    """A job that an engine did not do."""


class Settings:
    """What all engines are told."""

    def __init__(self, args, paths):
        self.paths, self.cores, self.bound = paths, cores(), None

    def job(self, job, summed):
        tables = [{"name": table, "path": str(self.paths[table]), "format": TABLES[table][0], "columns": TABLES[table][1]} for table in job.tables]
        return {"tables": tables, "mode": job.mode, "cores": self.cores, "sums": summed,
                "watermark": f"{WATERMARK} seconds" if job.watermark else None}

    def setup(self):
        """Tables for DataFusion."""
        statements = ["SET datafusion.sql_parser.parse_float_as_decimal = true", "SET datafusion.execution.time_zone = 'UTC'"]
        for table, path in self.paths.items():
            format_, columns = TABLES[table]
            listed = "" if format_ == "parquet" else f"({columns.replace('STRING', 'VARCHAR')}) "
            options = TEXT_OPTIONS if format_ == "text" else ""
            kind = "CSV" if format_ == "text" else format_
            statements.append(f"CREATE EXTERNAL TABLE {table} {listed}STORED AS {kind} LOCATION '{path}/' {options}")
        return statements


def ask_process(python, script, what, work, environment):
    """Runs a job in a Python of its own; `process` is from its start to the end of the first run."""
    file = work / "job.json"
    file.write_text(json.dumps(what))
    start = time.time()
    done = subprocess.run([python, HERE / script, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    shutil.rmtree(what["checkpoint"], ignore_errors=True)
    if done.returncode:
        raise Failed(reason(done.stderr))
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    by = {kind: [line for line in lines if line["what"] == kind] for kind in ("ready", "run", "sums")}
    first, second = by["run"]
    return {"version": by["ready"][0]["version"], "seconds": second["seconds"], "first": first["seconds"], "process": first["at"] - start,
            "rows": first.get("rows"), "batches": first.get("batches"), "sums": by["sums"][0]["answers"] if by["sums"] else None}


def reason(stderr):
    """The line of a stack trace that says most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")] or [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (causes or lines or ["no message"])[-1][:300]


def flink_python(work):
    """A Python with PyFlink."""
    python = work / "venv-flink" / "bin" / "python"
    if subprocess.run([python, "-c", "import pyflink"], stderr=subprocess.DEVNULL).returncode if python.exists() else True:
        print(f"installing {PYFLINK} into {work / 'venv-flink'}", flush=True)
        venv.create(work / "venv-flink", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PYFLINK], check=True, stderr=subprocess.PIPE, text=True)
    return python


def flink_jars(work):
    folder = work / "flink-jars"
    for artifact in FLINK_JARS:
        if not list(folder.glob(artifact.split(":")[1] + "-*.jar")):
            subprocess.run(["mvn", "-B", "-ntp", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
                            f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"], check=True, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return sorted(folder.glob("*.jar"))


# Data


def data(args, binary):
    """Where each table is."""
    base = args.data.resolve() if args.data else nexmark_files(args, binary)
    paths = {table: base / table for table in ("person", "auction", "bid")}
    paths["bid_json"] = json_files(args, binary, paths["bid"])
    paths["lines"] = text_files(args.work, 10, max(1, args.lines // 10), 100_000)
    return paths


def nexmark_files(args, binary):
    target = args.work / f"nexmark-{args.events}-{args.files}"
    if not target.exists():
        print(f"writing {args.events} events to {target}", flush=True)
        unfinished = fresh(target.with_suffix(".tmp"))
        subprocess.run([binary, "bench", "nexmark", "--write", unfinished, "--format", "parquet", "--files", str(args.files),
                        "--events", str(args.events)], check=True)
        unfinished.rename(target)
    return target


def json_files(args, binary, bid):
    """Bids as lines of JSON, written by Tidemill and cut into files of one size."""
    newest = max(file.stat().st_mtime_ns for file in bid.iterdir())
    target = args.work / f"bid-json-{args.json_rows}-{zlib.crc32(f'{bid} {newest}'.encode()):08x}"
    if target.exists():
        return target
    print(f"writing {args.json_rows} bids of JSON to {target}", flush=True)
    whole, unfinished = fresh(args.work / "bid-json.whole"), fresh(target.with_suffix(".tmp"))
    unfinished.mkdir()
    sql = f"""CREATE TABLE bid ({TABLES['bid'][1]}) USING parquet OPTIONS (path '{bid}');
              CREATE SINK out USING json OPTIONS (path '{whole}');
              INSERT INTO out SELECT * FROM bid LIMIT {args.json_rows};"""
    subprocess.run([binary, "run", "-e", sql], check=True, stdout=subprocess.DEVNULL)
    cut(sorted(whole.glob("*.json")), unfinished)
    shutil.rmtree(whole)
    unfinished.rename(target)
    return target


def cut(files, target):
    """Copies lines into files of about JSON_FILE bytes."""
    number, out = 0, None
    for file in files:
        with open(file, "rb") as lines:
            while chunk := lines.readlines(1 << 20):
                if out is None or out.tell() >= JSON_FILE:
                    out = open(target / f"{number:05}.json", "wb")
                    number += 1
                out.write(b"".join(chunk))
    out.close()


def warm(directories):
    """Reads all files once, so that no engine is the first."""
    for directory in directories:
        for file in directory.iterdir():
            file.read_bytes()


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return directory


# Measuring


def one_job(engines, job, settings, number, found):
    """Every engine once; sums of the results in the first round."""
    results = {}
    if settings.bound is None and "batch" in engines:
        settings.bound = str(engines["batch"].last_time(settings) - datetime.timedelta(seconds=WATERMARK))
    for name, engine in engines.items():
        if job.columns and name not in ("tidemill", "batch"):
            continue
        results[name] = attempt(engine, job, settings, number == 1)
        if results[name].get("sums"):
            found.setdefault(job.name, {})[name] = results[name].pop("sums")
    told = ", ".join(f"{name} {r['seconds']:.2f} s" if "seconds" in r else f"{name}: {r.get('error', 'left out')}" for name, r in results.items())
    print(f"round {number}, {job.name}: {told}", flush=True)
    return results


def attempt(engine, job, settings, with_sums):
    """What an engine cannot do does not end the others."""
    try:
        return engine.run(job, settings, with_sums)
    except subprocess.CalledProcessError as e:
        return {"error": reason(e.stderr or "")}
    except Failed as e:
        return {"error": str(e).replace("\n", " ")[:300]}


def compare(jobs, found):
    """What differs between an engine and Tidemill, in what both have."""
    differences = []
    for job in jobs:
        sums_of = found.get(job.name, {})
        ours = sums_of.get("tidemill")
        for name, theirs in sums_of.items():
            for what in theirs if ours else []:
                if what in ours and ours[what] != theirs[what]:
                    differences.append(f"{job.name}: {what} is {ours[what]} for tidemill and {theirs[what]} for {name}")
    return differences


def probe(work):
    """Milliseconds of an fdatasync of a short record into room that is there, the median of 40."""
    file = work / "probe"
    handle = os.open(file, os.O_CREAT | os.O_WRONLY)
    os.write(handle, bytes(1 << 18))
    os.fsync(handle)
    os.lseek(handle, 0, os.SEEK_SET)
    times = []
    for _ in range(40):
        os.write(handle, bytes(300))
        start = time.monotonic()
        os.fdatasync(handle)
        times.append((time.monotonic() - start) * 1000)
    os.close(handle)
    file.unlink()
    return sorted(times)[20]


# About the machine


def machine(args):
    info = pathlib.Path("/proc/meminfo")
    memory = int(re.search(r"MemTotal:\s+(\d+)", info.read_text())[1]) // 2**20 if info.exists() else None
    model = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text()) if info.exists() else None
    return {"cores": cores(), "memory": memory, "processor": model[1] if model else platform.processor(),
            "system": f"{platform.system()} {platform.release().split('-')[0]}", "date": datetime.date.today().isoformat(), "rounds": args.rounds}


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "an unknown commit"


def datafusion_version():
    lock = (REPOSITORY / "Cargo.lock").read_text()
    return re.search(r'name = "datafusion"\nversion = "([^"]+)"', lock)[1]


def java_version():
    return first_line(["java", "-version"]).split('"')[1]


def first_line(command_line):
    done = subprocess.run(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.splitlines()[0]


def last_line(text):
    return text.strip().splitlines()[-1] if text and text.strip() else None


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as e:
        sys.exit(f"{e}\n{e.stderr or ''}")

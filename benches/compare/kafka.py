#!/usr/bin/env python3
"""A topic of JSON through Tidemill and PySpark, in turn: columns of from_json, a filter, rows dropped.

    benches/compare/kafka.py 127.0.0.1:9092
    benches/compare/kafka.py 127.0.0.1:9092 --records 20000 --profile dev --rounds 1

Needs a running broker, a Rust toolchain, Python 3.9, Java 17 and Maven, which fetches Spark's connector for Kafka; PySpark goes into a virtual
environment below the working directory unless --spark-python names a Python that has it. The topic is filled by Tidemill: records of about 1 KB in five
partitions. Tidemill's time is that of the whole process; Spark's is from start() to the end of the query, without the start of the JVM.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import uuid

from wordcount import build, spark_python

CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
SCHEMA = "id BIGINT, price BIGINT, name STRING"


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    topic = f"compare-{uuid.uuid4().hex[:8]}"
    binary = build(args.profile, "--bin", "tidemill")
    fill(binary, args.servers, topic, args.records)
    python, jars = args.spark_python or spark_python(args.work), connector(args.work)
    ratios = []
    for number in range(1, args.rounds + 1):
        ours, ours_rows = tidemill(binary, args.servers, topic)
        spark, spark_rows = spark_run(python, jars, args.servers, topic)
        if not ours_rows == spark_rows == args.records:
            sys.exit(f"records: {args.records}, tidemill {ours_rows}, spark {spark_rows}")
        ratios.append(spark / ours)
        print(f"round {number}: tidemill {ours:.2f} s, spark {spark:.2f} s, ratio {spark / ours:.1f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.1f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", help="address of a broker")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", default="release", help="cargo profile; dev only to try the script")
    parser.add_argument("--spark-python", help="a Python that has PySpark")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/tidemill/compare")
    return parser.parse_args()


def fill(binary, servers, topic, records):
    """Writes the records, without a checkpoint."""
    print(f"writing {records} records to {topic}", flush=True)
    sql = f"""
        CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{topic}');
        INSERT INTO o SELECT to_json(named_struct('id', id, 'price', id * 7919 % 1000, 'name', concat('item ', id % 100),
            'text', repeat('x', 900))) AS value, CAST(id % 5 AS INT) AS partition FROM range({records});"""
    create(servers, topic)
    subprocess.run([binary, "run", "-e", sql], check=True)


def create(servers, topic):
    """Makes the topic with five partitions, with the broker's own tool."""
    jars = pathlib.Path(os.environ.get("TIDEMILL_KAFKA", pathlib.Path.home() / ".cache/tidemill/kafka"))
    subprocess.run(["java", "-cp", f"{jars}/*", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", servers, "--create",
                    "--topic", topic, "--partitions", "5", "--replication-factor", "1"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def tidemill(binary, servers, topic):
    """The whole process, from its start to its end."""
    sql = f"""
        CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topic}', startingOffsets 'earliest');
        CREATE FLOW f USING noop TRIGGER AVAILABLE NOW AS
        SELECT j.id, j.name FROM (SELECT from_json(CAST(value AS STRING), '{SCHEMA}') AS j FROM s) WHERE j.price > 500;"""
    start = time.monotonic()
    done = subprocess.run([binary, "run", "--progress-json", "-e", sql], check=True, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - start
    progress = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return seconds, sum(p["numInputRows"] for p in progress)


def connector(work):
    """The folder with Spark's connector and what it needs beside Spark."""
    folder = work / "spark-kafka"
    if not folder.exists():
        artifacts = [CONNECTOR, CONNECTOR.replace("sql-kafka", "token-provider-kafka"), "org.apache.kafka:kafka-clients:3.9.1",
                     "org.apache.commons:commons-pool2:2.12.1"]
        for artifact in artifacts:
            subprocess.run(["mvn", "-B", "-ntp", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
                            f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"], check=True, cwd=work)
    return sorted(str(jar) for jar in folder.glob("*.jar"))


def spark_run(python, jars, servers, topic):
    """The same job in a process of its own."""
    done = subprocess.run([python, __file__, "--spark-job", ",".join(jars), servers, topic], check=True, stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["seconds"], answer["records"]


def spark_job(jars, servers, topic):
    """Runs in the Python that has PySpark."""
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, from_json

    cores = len(os.sched_getaffinity(0))
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.jars", jars)
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    start = time.monotonic()
    query = (
        session.readStream.format("kafka").option("kafka.bootstrap.servers", servers).option("subscribe", topic)
        .option("startingOffsets", "earliest").load()
        .select(from_json(col("value").cast("string"), SCHEMA).alias("j")).where("j.price > 500").select("j.id", "j.name")
        .writeStream.format("noop").trigger(availableNow=True).start()
    )
    query.awaitTermination()
    seconds = time.monotonic() - start
    print(json.dumps({"seconds": seconds, "records": sum(p["numInputRows"] for p in query.recentProgress)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--spark-job"]:
        spark_job(*sys.argv[2:])
    else:
        main()

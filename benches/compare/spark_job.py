"""One job in PySpark: one file a micro-batch, checkpoint, noop sink, until everything is read.

    spark_job.py FILE        made by nexmark.py: what to read and to run

Prints lines of JSON: versions when the session is there, then each run, then sums of the result if they are asked for.
`at` is the time of day when a line was printed, from which the time of the process is computed.
"""

import json
import pathlib
import shutil
import sys
import time

from pyspark.sql import SparkSession


def main(file):
    job = json.loads(pathlib.Path(file).read_text())
    session = start(job)
    tell(what="ready", version=session.version)
    for _ in range(2):
        tell(what="run", **run(session, job))
    if job["sums"]:
        tell(what="sums", answers=summed(session, job))


def start(job):
    session = (
        SparkSession.builder.master(f"local[{job['cores']}]")
        # Spark's default of 200 would be far slower at this size.
        .config("spark.sql.shuffle.partitions", str(job["cores"]))
        .config("spark.driver.memory", job["memory"])
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


def query(session, job):
    for table in job["tables"]:
        reader = session.readStream.format(table["format"]).option("maxFilesPerTrigger", 1)
        if table["format"] != "text":
            reader = reader.schema(table["columns"])
        frame = reader.load(table["path"])
        if job["watermark"]:
            frame = frame.withWatermark("date_time", job["watermark"])
        frame.createOrReplaceTempView(table["name"])
    return session.sql(job["sql"])


def run(session, job):
    begin = time.monotonic()
    stream = started(query(session, job).writeStream.outputMode(job["mode"]).format("noop"), job)
    seconds = time.monotonic() - begin
    progress = stream.recentProgress
    return {"seconds": seconds, "rows": sum(p["numInputRows"] for p in progress), "batches": len(progress)}


def summed(session, job):
    """A run by itself, whose batches are summed up instead of dropped."""
    answers = []

    def add(batch, _):
        answers.append(batch.selectExpr(*job["sums"]).collect()[0].asDict())

    started(query(session, job).writeStream.outputMode("complete" if job["mode"] == "update" else job["mode"]).foreachBatch(add), job)
    return answers


def started(writer, job):
    shutil.rmtree(job["checkpoint"], ignore_errors=True)
    stream = writer.option("checkpointLocation", job["checkpoint"]).trigger(availableNow=True).start()
    stream.awaitTermination()
    return stream


def tell(**what):
    print(json.dumps({**what, "at": time.time()}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

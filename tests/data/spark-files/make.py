"""What Spark's streaming file sink writes, and what Spark reads of our output.

    python make.py streamed   writes streamed/: directories with `_spark_metadata`, in which tests read
    python make.py ours       reads ours/, which tests write the same, and writes ours.json

Needs pyspark 4. Paths in the logs begin with `file:///spark-files`, which tests replace by the place of their copy.
"""

import glob
import json
import os
import re
import shutil
import sys

from pyspark.sql import SparkSession

HERE = os.path.dirname(os.path.abspath(__file__))


def session():
    return (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.sql.streaming.fileSink.log.compactInterval", "3")
            .config("spark.sql.streaming.fileSink.log.cleanupDelay", "0")
            .getOrCreate())


def streamed(spark):
    """Seven batches, so that the log has two whole lists and one batch after them."""
    work = "/tmp/spark-files-work"
    shutil.rmtree(work, ignore_errors=True)
    for name, options in {"json": {}, "csv": {"header": "true"}, "parquet": {}, "json-folders": {"partitionBy": "g x"}}.items():
        source, out = f"{work}/in-{name}", f"{work}/{name}"
        os.makedirs(source)
        options = dict(options)
        partition = options.pop("partitionBy", None)
        for batch in range(7):
            with open(f"{source}/{batch}.json", "w") as f:
                for i in range(3):
                    n = batch * 3 + i
                    f.write(json.dumps({"n": n, "t": f"a b/{n}", "g x": f"k/{n % 2} %"}) + "\n")
            rows = spark.readStream.schema("n BIGINT, t STRING, `g x` STRING").json(source)
            writer = rows.coalesce(1).writeStream.format(name.split("-")[0]).options(**options)
            if partition:
                writer = writer.partitionBy(partition)
            query = (writer.option("checkpointLocation", f"{work}/ck-{name}").trigger(availableNow=True).start(out))
            query.awaitTermination()
        # A batch that died: its file is there, and in no log.
        stray = sorted(f for f in glob.glob(f"{out}/**/part-*", recursive=True))[0]
        shutil.copy(stray, re.sub(r"part-00000-[0-9a-f]{8}", "part-00000-deadbeef", stray))
        for crc in glob.glob(f"{out}/**/.*.crc", recursive=True):
            os.remove(crc)
        for log in glob.glob(f"{out}/_spark_metadata/*"):
            text = open(log).read().replace(f"file://{work}", "file:///spark-files").replace(f"file:{work}", "file:///spark-files")
            open(log, "w").write(text)
        target = f"{HERE}/streamed/{name}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out, target)


def ours(spark):
    """Every directory of ours/ as Spark reads it, its columns told from the files."""
    answers = {}
    for path in sorted(glob.glob(f"{HERE}/ours/*")):
        name = os.path.basename(path)
        reader = spark.read.option("header", "true").option("inferSchema", "true")
        rows = reader.format(name.split("-")[0]).load(path)
        answers[name] = {"schema": rows.schema.simpleString(),
                         "rows": sorted([[None if v is None else str(v) for v in row] for row in rows.collect()],
                                        key=lambda r: [v or "" for v in r])}
    with open(f"{HERE}/ours.json", "w") as f:
        json.dump(answers, f, indent=1, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    {"streamed": streamed, "ours": ours}[sys.argv[1]](session())

"""The word count of wordcount.py in PySpark: one file a micro-batch, update mode, checkpoint, noop sink.

    spark_wordcount.py INPUT CHECKPOINT

Prints one line of JSON. The start of the JVM and of the session is not in `seconds`.
"""

import json
import os
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, explode, split


def main(text, checkpoint):
    cores = len(os.sched_getaffinity(0))
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        # Spark's default of 200 would be far slower at this size.
        .config("spark.sql.shuffle.partitions", str(cores))
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    start = time.monotonic()
    query = (
        session.readStream.format("text").option("maxFilesPerTrigger", 1).load(text)
        .select(explode(split(col("value"), " ")).alias("word"))
        .groupBy("word").count()
        .writeStream.outputMode("update").format("noop")
        .option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
    )
    query.awaitTermination()
    seconds = time.monotonic() - start
    progress = [p for p in query.recentProgress if p["numInputRows"] > 0]
    print(json.dumps({
        "seconds": round(seconds, 3),
        "lines": sum(p["numInputRows"] for p in progress),
        "words": progress[-1]["stateOperators"][0]["numRowsTotal"],
        "batches": len(progress),
    }))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

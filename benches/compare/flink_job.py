"""One job in PyFlink, by SQL: files read to their end in streaming mode, rows dropped by the sink blackhole.

    flink_job.py FILE        made by nexmark.py: what to read and to run

Prints lines of JSON as spark_job.py does.
"""

import json
import pathlib
import sys
import time

from pyflink.table import EnvironmentSettings, TableEnvironment
from pyflink.version import __version__

TYPES = {"TIMESTAMP": "TIMESTAMP(6)"}
FORMATS = {"parquet": "'format' = 'parquet', 'parquet.utc-timezone' = 'true'", "text": "'format' = 'raw'",
           "json": "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'"}


def main(file):
    job = json.loads(pathlib.Path(file).read_text())
    environment = start(job)
    tell(what="ready", version=__version__)
    for number in range(2):
        begin = time.monotonic()
        environment.execute_sql(f"CREATE TABLE nowhere{number} WITH ('connector' = 'blackhole') AS {job['sql']}").wait()
        tell(what="run", seconds=time.monotonic() - begin)
    if job["sums"]:
        tell(what="sums", answers=[summed(environment, job)])


def start(job):
    environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    settings = {"parallelism.default": str(job["cores"]), "table.local-time-zone": "UTC", "table.exec.mini-batch.enabled": "true",
                "table.exec.mini-batch.allow-latency": "1 s", "table.exec.mini-batch.size": "100000", "pipeline.jars": job["jars"],
                "execution.checkpointing.interval": "1 s", "execution.checkpointing.storage": "filesystem",
                "execution.checkpointing.dir": f"file://{job['checkpoint']}"}
    for key, value in settings.items():
        environment.get_config().set(key, value)
    for table in job["tables"]:
        environment.execute_sql(declared(table, job["watermark"]))
    return environment


def declared(table, watermark):
    columns = [column.strip().split(" ") for column in table["columns"].split(",")]
    # JSON has times with a zone.
    types = {"TIMESTAMP": "TIMESTAMP_LTZ(6)"} if table["format"] == "json" else TYPES
    listed = [f"`{name}` {types.get(type_, type_)}" for name, type_ in columns]
    if watermark:
        listed += ["ts AS CAST(date_time AS TIMESTAMP(3))", f"WATERMARK FOR ts AS TIMESTAMPADD(SECOND, -{watermark}, ts)"]
    return (f"CREATE TABLE {table['name']} ({', '.join(listed)}) WITH ('connector' = 'filesystem', "
            f"'path' = 'file://{table['path']}', {FORMATS[table['format']]})")


def summed(environment, job):
    """A run by itself, of the sums of the result: they change with it, and the last ones count."""
    where = f" WHERE {job['end']} <= TIMESTAMP '{job['bound']}'" if job["end"] else ""
    result = environment.execute_sql(f"SELECT {', '.join(job['sums'])} FROM ({job['sql']}){where}")
    names = result.get_table_schema().get_field_names()
    with result.collect() as rows:
        last = list(rows)[-1]
    return dict(zip(names, last))


def tell(**what):
    print(json.dumps({**what, "at": time.time()}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

"""Fills the SQLite file of an MLflow server with runs, as its own store would have written them: over its REST API the
same would take most of an hour. Reads one JSON run per line from standard input."""

import json
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
experiment = sys.argv[2]
runs, metrics, latest, params, tags = [], [], [], [], []


def flush():
    database.executemany(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
        " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'UNKNOWN', '', '', 'ada', 'FINISHED', ?, ?, '', 'active', ?, ?)",
        runs,
    )
    database.executemany("INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, 0, 0)", metrics)
    database.executemany("INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, 0, 0)", latest)
    database.executemany("INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", params)
    database.executemany("INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", tags)
    for rows in (runs, metrics, latest, params, tags):
        rows.clear()


for line in sys.stdin:
    run = json.loads(line)
    run_id, start = run["id"], run["start_time"]
    runs.append((run_id, run["name"], start, start + 1, f"mlflow-artifacts:/{experiment}/{run_id}/artifacts", experiment))
    for key, value in run["metrics"].items():
        metrics.append((run_id, key, value, start))
        latest.append((run_id, key, value, start))
    params.extend((run_id, key, value) for key, value in run["params"].items())
    tags.extend((run_id, key, value) for key, value in run["tags"].items())
    if len(runs) == 5000:
        flush()
flush()
database.commit()

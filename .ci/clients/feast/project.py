"""A Feast project beside Switchyard.

  project.py write FOLDER STORE              writes a project with the online store of STORE (JSON) and applies it
  project.py fill FOLDER DRIVERS             pushes a row for each driver into its online store
  project.py compare FOLDER URL BROKER TOPIC reads rows from the topic into a project's own SQLite store, reads the same
                                             entities from Switchyard through Feast's remote store, writes one there,
                                             and prints all values as JSON
  project.py read FOLDER ENTITIES FEATURES...  prints what the project in FOLDER serves of ENTITIES (JSON: rows of keys)
"""
import json
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import yaml

FEATURES = [f"f{i}" for i in range(10)]
DEFINITIONS = '''
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Float32

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
batch = FileSource(name="rows", path="rows.parquet", timestamp_field="event_timestamp")
driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[Field(name=f"f{i}", dtype=Float32) for i in range(10)],
    source=PushSource(name="driver_stats", batch_source=batch),
)
'''


def frame(drivers, at):
    columns = {"driver_id": list(drivers), "event_timestamp": [at] * len(drivers)}
    for i, name in enumerate(FEATURES):
        columns[name] = [float(driver) + i / 8 for driver in drivers]
    return pd.DataFrame(columns).astype({name: "float32" for name in FEATURES})


def write(folder, store):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frame([0], datetime.now(timezone.utc)).to_parquet(folder / "rows.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    config = {
        "project": "beside",
        "registry": str(folder / "registry.db"),
        "provider": "local",
        "online_store": store,
        "offline_store": {"type": "file"},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
    sys.path.insert(0, str(folder))
    import definitions

    project = open_project(folder)
    project.apply([definitions.driver, definitions.driver_stats])
    return project


def open_project(folder):
    from feast import FeatureStore

    return FeatureStore(repo_path=str(folder))


def push(project, data):
    from feast.data_source import PushMode

    project.push("driver_stats", data, to=PushMode.ONLINE)


def values(project, drivers):
    names = [f"driver_stats:{name}" for name in FEATURES]
    rows = [{"driver_id": driver} for driver in drivers]
    return project.get_online_features(features=names, entity_rows=rows).to_dict()


def consume(broker, topic, count):
    """The rows of a topic as data frame. Raises TimeoutError when they do not come."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": f"feast-{time.time()}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    rows, end = [], time.time() + 120
    while len(rows) < count:
        if time.time() > end:
            raise TimeoutError(f"{len(rows)} of {count} rows came")
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            rows.append(json.loads(message.value()))
    consumer.close()
    data = pd.DataFrame(rows)
    data["event_timestamp"] = pd.to_datetime(data["event_timestamp"], utc=True)
    return data.astype({name: "float32" for name in FEATURES})


def compare(folder, url, broker, topic, count):
    folder = Path(folder)
    own = write(folder / "own", {"type": "sqlite", "path": str(folder / "online.db")})
    remote = write(folder / "remote", {"type": "remote", "path": url})
    rows = consume(broker, topic, count)
    # Feast keeps what comes last, whatever its event time.
    push(own, rows.sort_values("event_timestamp"))
    drivers = sorted(set(rows["driver_id"])) + [10**6]
    answer = {"own": values(own, drivers), "remote": values(remote, drivers)}
    added = frame([777], datetime.now(timezone.utc))
    push(remote, added)
    push(own, added)
    answer["written"] = {"own": values(own, [777]), "remote": values(remote, [777])}
    print(json.dumps(answer))


def main(verb, folder, *rest):
    if verb == "write":
        write(folder, json.loads(rest[0]))
    elif verb == "fill":
        drivers = range(1, int(rest[0]) + 1)
        push(open_project(Path(folder)), frame(drivers, datetime.now(timezone.utc) - timedelta(minutes=1)))
    elif verb == "compare":
        compare(folder, *rest[:-1], int(rest[-1]))
    elif verb == "read":
        found = open_project(Path(folder)).get_online_features(features=list(rest[1:]), entity_rows=json.loads(rest[0]))
        print(json.dumps(found.to_dict()))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])

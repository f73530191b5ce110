"""Reads topics of the event log from their beginning to their end and decodes every record, with nothing of ours.

usage: consume.py BROKER TOPIC... [--registry URL] [--ids]
Prints one JSON object a record: topic, key, headers, framing (json, avro, block) and the record; with --ids its id. Avro with Confluent's
framing is decoded by Confluent's own deserializer, blocks by fastavro.
"""

import argparse
import io
import json
import sys
import uuid

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def partitions_of(consumer, topics):
    """Each partition that has messages, with the offset behind its last one."""
    ends = {}
    for topic in topics:
        for number in consumer.list_topics(topic, 20).topics[topic].partitions:
            partition = TopicPartition(topic, number)
            low, high = consumer.get_watermark_offsets(partition, 20)
            if high > low:
                ends[(topic, number)] = high
    return ends


def decode(message, deserializer):
    value = message.value()
    if value[:4] == b"Obj\x01":
        return "block", list(fastavro.reader(io.BytesIO(value)))
    if value[:1] == b"\x00":
        context = SerializationContext(message.topic(), MessageField.VALUE)
        return "avro", [deserializer(value, context)]
    return "json", [json.loads(value)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("broker")
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--registry")
    parser.add_argument("--ids", action="store_true")
    given = parser.parse_args()
    deserializer = AvroDeserializer(SchemaRegistryClient({"url": given.registry})) if given.registry else None
    consumer = Consumer(
        {
            "bootstrap.servers": given.broker,
            "group.id": str(uuid.uuid4()),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "check.crcs": True,
        }
    )
    ends = partitions_of(consumer, given.topics)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in ends])
    while ends:
        message = consumer.poll(20)
        if message is None:
            sys.exit(f"no message within 20 s, and {ends} are not reached")
        if message.error():
            sys.exit(str(message.error()))
        framing, records = decode(message, deserializer)
        headers = {name: value.decode() for name, value in message.headers() or []}
        key = message.key().decode() if message.key() is not None else None
        for record in records:
            if given.ids:
                print(record["id"])
                continue
            line = {"topic": message.topic(), "key": key, "headers": headers, "framing": framing, "record": record}
            print(json.dumps(line, default=str))
        place = (message.topic(), message.partition())
        if place in ends and message.offset() + 1 >= ends[place]:
            del ends[place]
    consumer.close()


main()

"""Sends readings to Tocsin's topic aqi.readings: one a line of standard input, as
subject,measure,value,unit,time. Usage: produce.py BROKER"""

import hashlib
import struct
import sys
import uuid
from datetime import datetime, timedelta, timezone

from kafka import KafkaProducer

TOPIC = "aqi.readings"
TENANT = "default"
SOURCE = "python-producer"
# Avro single-object encoding: C3 01 and the fingerprint of schemas/reading.avsc.
FRAME = b"\xc3\x01" + struct.pack("<Q", 0xE01EFDC0324562B9)
NAMESPACE = uuid.UUID("7b1f6a54-95a5-5c0e-8a0f-3d2e6c419b70")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def fact_id(kind, *parts):
    """A UUIDv5 of what the fact is: each part behind its length."""
    name = b"".join(struct.pack(">I", len(part)) + part for part in (kind, *parts))
    digest = hashlib.sha1(NAMESPACE.bytes + name).digest()[:16]
    return uuid.UUID(bytes=digest, version=5).bytes


def avro_long(value):
    """Zig-zag, seven bits a byte."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def avro_text(text):
    data = text.encode()
    return avro_long(len(data)) + data


def micros(time):
    return (time - EPOCH) // timedelta(microseconds=1)


def reading(subject, measure, value, unit, time):
    """Key and value of a record; the fields in the order of the schema."""
    event_time = micros(datetime.fromisoformat(time.replace("Z", "+00:00")))
    key_parts = [part.encode() for part in (TENANT, subject, measure)]
    body = [
        fact_id(b"reading", *key_parts, struct.pack(">q", event_time)),
        avro_text(TENANT),
        avro_text(subject),
        avro_text(measure),
        struct.pack("<d", float(value)),
        avro_text(unit),
        avro_text(""),  # averaging
        avro_text(""),  # place
        avro_long(event_time),
        avro_long(micros(datetime.now(timezone.utc))),
        avro_text(SOURCE),
        avro_text(""),  # origin
    ]
    return b"/".join(key_parts), FRAME + b"".join(body)


def main():
    # The default partitioner is Java's: murmur2 of the key.
    producer = KafkaProducer(bootstrap_servers=sys.argv[1], acks="all", retries=10)
    sent = []
    for line in filter(None, map(str.strip, sys.stdin)):
        key, value = reading(*line.split(","))
        sent.append(producer.send(TOPIC, key=key, value=value))
    producer.flush()
    for record in sent:
        record.get(timeout=30)  # raises what went wrong
    print(f"{len(sent)} readings sent")


if __name__ == "__main__":
    main()

// Sends readings to Tocsin's topic aqi.readings: one a line of standard input, as
// subject,measure,value,unit,time. Usage: go run . BROKER
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic  = "aqi.readings"
	tenant = "default"
	source = "go-producer"
	// The fingerprint of schemas/reading.avsc.
	fingerprint = 0xe01efdc0324562b9
	namespace   = "7b1f6a5495a55c0e8a0f3d2e6c419b70"
)

// factID is a UUIDv5 of what the fact is: each part behind its length.
func factID(parts ...[]byte) []byte {
	name, _ := hex.DecodeString(namespace)
	for _, part := range parts {
		name = binary.BigEndian.AppendUint32(name, uint32(len(part)))
		name = append(name, part...)
	}
	hash := sha1.Sum(name)
	hash[6] = hash[6]&0x0f | 0x50
	hash[8] = hash[8]&0x3f | 0x80
	return hash[:16]
}

// Avro's long, zig-zag, is Go's varint.
func avroText(out []byte, text string) []byte {
	return append(binary.AppendVarint(out, int64(len(text))), text...)
}

// reading makes a record; the fields in the order of the schema.
func reading(line string) (*kgo.Record, error) {
	fields := strings.Split(line, ",")
	if len(fields) != 5 {
		return nil, fmt.Errorf("%q has %d fields, not 5", line, len(fields))
	}
	subject, measure, unit := fields[0], fields[1], fields[3]
	value, err := strconv.ParseFloat(fields[2], 64)
	if err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339, fields[4])
	if err != nil {
		return nil, err
	}
	eventTime := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro()))

	// Avro single-object encoding: C3 01, fingerprint, body.
	out := binary.LittleEndian.AppendUint64([]byte{0xc3, 0x01}, fingerprint)
	out = append(out, factID([]byte("reading"), []byte(tenant), []byte(subject), []byte(measure), eventTime)...)
	out = avroText(avroText(avroText(out, tenant), subject), measure)
	out = binary.LittleEndian.AppendUint64(out, math.Float64bits(value))
	out = avroText(out, unit)
	out = avroText(avroText(out, ""), "") // averaging, place
	out = binary.AppendVarint(out, at.UnixMicro())
	out = binary.AppendVarint(out, time.Now().UnixMicro())
	out = avroText(avroText(out, source), "") // origin
	key := strings.Join([]string{tenant, subject, measure}, "/")
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: out}, nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go run . BROKER < readings.csv")
	}
	// Java's partitioner is the default: murmur2 of the key. Acknowledged by all replicas, and once.
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			record, err := reading(line)
			if err != nil {
				log.Fatal(err)
			}
			records = append(records, record)
		}
	}
	if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d readings sent\n", len(records))
}

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends readings to Tocsin's topic aqi.readings: one a line of standard input, as subject,measure,value,unit,time. */
public class Produce {
    static final String TOPIC = "aqi.readings";
    static final String TENANT = "default";
    static final String SOURCE = "java-producer";
    /** Of schemas/reading.avsc. */
    static final long FINGERPRINT = 0xe01efdc0324562b9L;
    static final byte[] NAMESPACE = HexFormat.of().parseHex("7b1f6a5495a55c0e8a0f3d2e6c419b70");

    /** A UUIDv5 of what the fact is: each part behind its length. */
    static byte[] id(byte[]... parts) throws Exception {
        MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
        sha1.update(NAMESPACE);
        for (byte[] part : parts) {
            sha1.update(ByteBuffer.allocate(4).putInt(part.length).array());
            sha1.update(part);
        }
        byte[] id = Arrays.copyOf(sha1.digest(), 16);
        id[6] = (byte) (id[6] & 0x0f | 0x50);
        id[8] = (byte) (id[8] & 0x3f | 0x80);
        return id;
    }

    static byte[] little(long value) {
        return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
    }

    /** Avro's long: zig-zag, seven bits a byte. */
    static void number(DataOutputStream out, long value) throws IOException {
        long rest = value << 1 ^ value >> 63;
        for (; (rest & ~0x7fL) != 0; rest >>>= 7) {
            out.writeByte((int) (rest & 0x7f | 0x80));
        }
        out.writeByte((int) rest);
    }

    static void text(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(UTF_8);
        number(out, bytes.length);
        out.write(bytes);
    }

    static long micros(Instant time) {
        return ChronoUnit.MICROS.between(Instant.EPOCH, time);
    }

    /** The record of a line; the fields in the order of the schema, behind C3 01 and the fingerprint. */
    static ProducerRecord<byte[], byte[]> reading(String line) throws Exception {
        String[] fields = line.split(",");
        String subject = fields[0], measure = fields[1];
        long time = micros(Instant.parse(fields[4]));
        byte[] id = id("reading".getBytes(UTF_8), TENANT.getBytes(UTF_8), subject.getBytes(UTF_8),
                measure.getBytes(UTF_8), ByteBuffer.allocate(8).putLong(time).array());
        ByteArrayOutputStream value = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(value);
        out.write(new byte[] {(byte) 0xc3, 1});
        out.write(little(FINGERPRINT));
        out.write(id);
        text(out, TENANT);
        text(out, subject);
        text(out, measure);
        out.write(little(Double.doubleToLongBits(Double.parseDouble(fields[2]))));
        text(out, fields[3]);
        text(out, ""); // averaging
        text(out, ""); // place
        number(out, time);
        number(out, micros(Instant.now()));
        text(out, SOURCE);
        text(out, ""); // origin
        byte[] key = String.join("/", TENANT, subject, measure).getBytes(UTF_8);
        return new ProducerRecord<>(TOPIC, key, value.toByteArray());
    }

    public static void main(String[] args) throws Exception {
        // The default partitioner is murmur2 of the key; writes are idempotent and acknowledged by all replicas.
        Map<String, Object> config = Map.of("bootstrap.servers", args[0]);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line; (line = lines.readLine()) != null; ) {
                if (!line.isBlank()) {
                    sent.add(producer.send(reading(line.strip())));
                }
            }
        }
        for (Future<RecordMetadata> record : sent) {
            record.get(); // throws what went wrong
        }
        System.out.println(sent.size() + " readings sent");
    }
}
